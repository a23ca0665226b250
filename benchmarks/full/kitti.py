"""KITTI as a task of four distances (PAINT, after VTAB): how near the nearest vehicle is, on the object set's left images.

The class is the index of the largest of the thresholds (-100, 8, 20, 999) metres below the smallest z of a Car, Van or
Truck, 10,000 without any. The split goes by video, so that no video lies in two parts: of the sorted video ids, 10 % for
test and then 10 % of all for validation, drawn with numpy's legacy generator, seed 123; which image belongs to which video
is in the devkit's mapping folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.full.dataset_table import names
from benchmarks.full.parts import Part, listed, reading
from models.registry import UserError

THRESHOLDS = (-100.0, 8.0, 20.0, 999.0)
VEHICLES = ("Car", "Van", "Truck")
NO_VEHICLE = 10000.0


def read(root: Path, split: str) -> Part:
    """One split of the labelled images; the labels of the other splits are not opened."""
    base = root / "Kitti" / "raw"
    keys = tuple(names("kitti"))
    mapping, order = base / "mapping" / "train_mapping.txt", base / "mapping" / "train_rand.txt"
    with reading(mapping):
        lines = mapping.read_text().splitlines()
    with reading(order):
        numbers = [int(number) for number in order.read_text().split(",")]
        if sorted(numbers) != list(range(1, len(lines) + 1)):
            raise UserError(f"{order} must hold each line number of {mapping.name} once (1 to {len(lines)}).")
        videos = [lines[number - 1].split(" ")[1] for number in numbers]
    images = [f"{index:06d}" for index in by_video(videos)[split]]
    part = listed(keys, [base / "training" / "image_2" / f"{image}.png" for image in images], images)
    labels = []
    for image in part.labels:
        path = base / "training" / "label_2" / f"{image}.txt"
        with reading(path):
            labels.append(keys[distance_class(path.read_text())])
    return part._replace(labels=labels)


def by_video(videos: list[str]) -> dict[str, list[int]]:
    """Image numbers of train, val and test from the video of each image [N]."""
    groups: dict[str, list[int]] = {}
    for image, video in enumerate(videos):
        groups.setdefault(video, []).append(image)
    generator = np.random.RandomState(123)
    size = max(1, 10 * len(groups) // 100)
    test = set(generator.choice(sorted(groups), size, replace=False))
    val = set(generator.choice(sorted(set(groups) - test), size, replace=False))
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for video, group in groups.items():
        parts["test" if video in test else "val" if video in val else "train"] += group
    return parts


def distance_class(labels: str) -> int:
    """The class of one image from its label file: a line an object, its type first, z its fourteenth value."""
    rows = [line.split() for line in labels.splitlines() if line.strip()]
    nearest = min([float(row[13]) for row in rows if row[0] in VEHICLES] + [NO_VEHICLE])
    return max(index for index, threshold in enumerate(THRESHOLDS) if threshold < nearest)
