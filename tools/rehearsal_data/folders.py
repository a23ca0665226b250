"""Layouts of MTIL's and PAINT's datasets in folders of image files.

Each function writes one dataset under the data folder and returns its image files.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tools.rehearsal_data.content import SPLITS, Content, Item, document, matlab, text


def aircraft(root: Path, content: Content) -> list[Item]:
    """Write FGVC-Aircraft: numbered images and one list per split with the variant of each."""
    base = root / "fgvc-aircraft-2013b" / "data"
    text(base / "variants.txt", content.classes)
    items: list[Item] = []
    for split in SPLITS:
        rows = []
        for shot in content.by_class(split):
            path = base / "images" / f"{len(items) + 1:07d}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            rows.append(f"{path.stem} {shot.key}")
        text(base / f"images_variant_{split}.txt", rows)
    return items


def caltech101(root: Path, content: Content) -> list[Item]:
    """Write Caltech-101: numbered images in class folders."""
    return _class_folders(root / "caltech101" / "101_ObjectCategories", content, "image_{number:04d}.jpg")


def dtd(root: Path, content: Content) -> list[Item]:
    """Write the describable textures with the lists of partition 1."""
    base, items = root / "dtd" / "dtd", []
    for split in SPLITS:
        rows = []
        for shot in content.by_class(split):
            path = base / "images" / shot.key / f"{shot.key}_{shot.number:04d}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            rows.append(f"{shot.key}/{path.name}")
        text(base / "labels" / f"{split}1.txt", rows)
    return items


def eurosat(root: Path, content: Content) -> list[Item]:
    """Write EuroSAT's RGB images in class folders."""
    return _class_folders(root / "eurosat" / "2750", content, "{key}_{number}.jpg")


def flowers(root: Path, content: Content) -> list[Item]:
    """Write Flowers-102: numbered images, the label of each (from 1), and the numbers of each split. A class is a label."""
    base = root / "flowers-102"
    items: list[Item] = []
    numbers: dict[str, list[int]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for shot in content.in_turn(split):
            numbers[split].append(len(items) + 1)
            path = base / "jpg" / f"image_{len(items) + 1:05d}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
    labels = np.array([[int(item.key) for item in items]], dtype=np.uint8)
    ids = {"trnid": numbers["train"], "valid": numbers["val"], "tstid": numbers["test"][::-1]}
    matlab(base / "imagelabels.mat", {"labels": labels})
    matlab(base / "setid.mat", {name: np.array([values]) for name, values in ids.items()})
    return items


def food(root: Path, content: Content) -> list[Item]:
    """Write Food-101: images named by numbers in class folders, and one JSON file per split."""
    base, items = root / "food-101", []
    text(base / "meta" / "classes.txt", content.classes)
    for split in ("train", "test"):
        files: dict[str, list[str]] = {key: [] for key in content.classes}
        for shot in content.by_class(split):
            path = base / "images" / shot.key / f"{1_000_000 + shot.number}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            files[shot.key].append(f"{shot.key}/{path.stem}")
        document(base / "meta" / f"{split}.json", files)
    return items


def pets(root: Path, content: Content) -> list[Item]:
    """Write Oxford-IIIT Pet: all images in one folder, and lists of image, class from 1, species (1 for a cat) and breed.

    The names of cats start with a capital letter.
    """
    base, items = root / "oxford-iiit-pet", []
    for split, name in (("train", "trainval"), ("test", "test")):
        rows = []
        for shot in content.by_class(split):
            path = base / "images" / f"{shot.key}_{shot.number + 1}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            rows.append(f"{path.stem} {content.classes.index(shot.key) + 1} {1 if shot.key[0].isupper() else 2} 1")
        text(base / "annotations" / f"{name}.txt", rows)
    return items


def cars(root: Path, content: Content) -> list[Item]:
    """Write Stanford Cars: numbered images of each split, and their classes (from 1) and boxes in MATLAB structures."""
    base, items = root / "stanford_cars", []
    names = np.empty((1, len(content.classes)), dtype=object)
    names[0] = content.classes
    matlab(base / "devkit" / "cars_meta.mat", {"class_names": names})
    fields = [(key, object) for key in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        shots = list(content.in_turn(split))
        rows = np.empty((1, len(shots)), dtype=fields)
        for number, shot in enumerate(shots):
            path = base / f"cars_{split}" / f"{number + 1:05d}.jpg"
            rows[0, number] = (1, 1, 9, 9, content.classes.index(shot.key) + 1, path.name)
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
        matlab(base / file, {"annotations": rows})
    return items


def sun397(root: Path, content: Content) -> list[Item]:
    """Write SUN397: scenes in folders such as a/abbey, and the lists of the official partition 01. Classes are "/a/abbey"."""
    base, items = root / "SUN397", []
    text(base / "ClassName.txt", content.classes)
    for split, name in (("train", "Training_01.txt"), ("test", "Testing_01.txt")):
        rows = []
        for shot in content.by_class(split):
            path = base / shot.key[1:] / f"sun_a{_letters(shot.number)}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            rows.append(f"{shot.key}/{path.name}")
        text(base / name, rows)
    return items


def gtsrb(root: Path, content: Content) -> list[Item]:
    """Write GTSRB: training images by class with one table each, numbered test images with their table. Classes are "00000"."""
    base, head = root / "gtsrb", ["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"]
    items = _class_folders(base / "GTSRB" / "Training", content, "00000_{number:05d}.ppm", "train")
    for key in content.classes:
        rows = [[item.path.name, 16, 16, 1, 1, 9, 9, int(key)] for item in items if item.key == key]
        _table(base / "GTSRB" / "Training" / key / f"GT-{key}.csv", [head, *rows])
    tests = []
    for number, shot in enumerate(reversed(list(content.in_turn("test")))):
        path = base / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm"
        content.save(path, *shot)
        items.append(Item("test", shot.key, path))
        tests.append([path.name, 16, 16, 1, 1, 9, 9, int(shot.key)])
    _table(base / "GT-final_test.csv", [head, *tests])
    return items


def resisc45(root: Path, content: Content) -> list[Item]:
    """Write NWPU-RESISC45 with the published lists of its splits."""
    base, items = root / "resisc45", []
    for split in SPLITS:
        rows = []
        for shot in content.by_class(split):
            path = base / "NWPU-RESISC45" / shot.key / f"{shot.key}_{shot.number + 1:03d}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            rows.append(path.name)
        text(base / f"resisc45-{split}.txt", rows)
    return items


def middle_frames(root: Path, content: Content) -> list[Item]:
    """Write the middle frames of UCF101's videos, in class folders."""
    return _class_folders(root / "ucf101" / "UCF-101-midframes", content, "v_{key}_g01_c{number:02d}.jpg")


def _class_folders(base: Path, content: Content, name: str, split: str = "all") -> list[Item]:
    """Write numbered images, from 1, into one folder per class."""
    items = []
    for shot in content.by_class(split):
        path = base / shot.key / name.format(key=shot.key, number=shot.number + 1)
        content.save(path, *shot)
        items.append(Item(split, shot.key, path))
    return items


def _letters(number: int) -> str:
    """Return the number as fifteen letters, as SUN397's file names have them."""
    return "".join(chr(ord("a") + number // 26**i % 26) for i in range(14, -1, -1))


def _table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(rows)
