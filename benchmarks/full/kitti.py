"""KITTI as a task of four distances (PAINT, after VTAB): how near the nearest vehicle is, on the object set's left images.

The class is the index of the largest of the thresholds (-100, 8, 20, 999) metres below the smallest z of a Car, Van or
Truck, with z = 10,000 without a vehicle. The split goes by video, so all images of a video are in one split: of the
sorted video ids, 10 % are test and then 10 % of all are validation, drawn with numpy's legacy generator, seed 123. The
devkit's mapping folder has the video of each image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import names
from benchmarks.full.listing import Listing, listed_files, reading
from models.registry import UserError

THRESHOLDS = (-100.0, 8.0, 20.0, 999.0)
VEHICLES = ("Car", "Van", "Truck")
NO_VEHICLE = 10000.0


def read(files: DatasetFiles, split: str) -> Listing:
    """List one split of the labelled images. The label files of the other splits are not opened."""
    keys = list(names("kitti"))
    mapping = files.path("train_mapping.txt")
    with reading(mapping):
        lines = mapping.read_text().splitlines()
    with reading(files.path("train_rand.txt")) as path:
        numbers = [int(number) for number in path.read_text().split(",")]
        if sorted(numbers) != list(range(1, len(lines) + 1)):
            raise UserError(f"{path} must hold each line number of {mapping.name} once (1 to {len(lines)}).")
        videos = [lines[number - 1].split(" ")[1] for number in numbers]
    images = [f"{index:06d}.png" for index in by_video(videos)[split]]
    listing = listed_files(files, "image_2", images, [(image, image) for image in images])
    labels = []
    for image in listing.labels:
        with reading(files.path("label_2") / f"{Path(image).stem}.txt") as path:
            labels.append(keys[distance_class(path.read_text())])
    return Listing(tuple(keys), labels, listing.files)


def by_video(videos: list[str]) -> dict[str, list[int]]:
    """Return the image numbers of train, val and test, given the video of each image [N]."""
    groups: dict[str, list[int]] = {}
    for image, video in enumerate(videos):
        groups.setdefault(video, []).append(image)
    generator = np.random.RandomState(123)
    size = max(1, 10 * len(groups) // 100)
    test = set(generator.choice(sorted(groups), size, replace=False))
    val = set(generator.choice(sorted(set(groups) - test), size, replace=False))
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for video, group in groups.items():
        splits["test" if video in test else "val" if video in val else "train"] += group
    return splits


def distance_class(labels: str) -> int:
    """Return the class of an image from its label file: one line per object, the type first, z as the fourteenth value."""
    rows = [line.split() for line in labels.splitlines() if line.strip()]
    nearest = min([float(row[13]) for row in rows if row[0] in VEHICLES] + [NO_VEHICLE])
    return max(index for index, threshold in enumerate(THRESHOLDS) if threshold < nearest)
