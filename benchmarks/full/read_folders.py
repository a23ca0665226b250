"""Readers of datasets whose images are files: in class folders, or named by lists.

Each lists the images and labels that torchvision's class finds, if there is one. Labels go by class name, so an incomplete
copy keeps its class names.
"""

from __future__ import annotations

import csv
import json
import os
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import names
from benchmarks.full.listing import Listing, check_numbers, class_folders, listed_files, reading, text_lines, union
from models.registry import UserError


def aircraft(files: DatasetFiles, split: str) -> Listing:
    """FGVC-Aircraft by variant. Split train is not trainval (ZSCL's code)."""
    with reading(files.path("variants.txt")) as path:
        variants = text_lines(path)
    with reading(files.path(f"images_variant_{split}.txt")) as path:
        rows = [line.split(" ", 1) for line in text_lines(path)]
        return listed_files(files, "images", variants, [(f"{image}.jpg", variant) for image, variant in rows])


def caltech101(files: DatasetFiles, split: str) -> Listing:
    """Caltech-101, not split: categories sorted, then images by number, which is also torchvision's order."""
    return class_folders(files, "101_ObjectCategories")


def dtd(files: DatasetFiles, split: str) -> Listing:
    """Describable textures, partition 1: one of its three splits."""
    with reading(files.path(f"{split}1.txt")) as path:
        rows = [(f"{texture}/{image}", texture) for texture, image in (line.split("/") for line in text_lines(path))]
    return listed_files(files, "images", sorted({texture for _, texture in rows}), rows)


def dtd_merged(files: DatasetFiles, split: str) -> Listing:
    """PAINT's textures: the official train and val splits together are train (stated by the author in an issue)."""
    if split != "train":
        return dtd(files, split)
    train, val = dtd(files, "train"), dtd(files, "val")
    return Listing(union([train.keys, val.keys]), train.labels + val.labels, train.files + val.files)


def eurosat(files: DatasetFiles, split: str) -> Listing:
    """EuroSAT, not split: class folders sorted, then files by name, as torchvision's ImageFolder."""
    return class_folders(files, "2750")


def flowers(files: DatasetFiles, split: str) -> Listing:
    """Flowers-102: setid.mat has the splits (trnid, tstid), imagelabels.mat the class of every image, from 1."""
    from scipy.io import loadmat

    keys = list(names("flowers"))
    with reading(files.path("setid.mat")) as path:
        images = [int(number) for number in loadmat(str(path))["trnid" if split == "train" else "tstid"].ravel()]
    with reading(files.path("imagelabels.mat")) as path:
        labels = loadmat(str(path))["labels"].ravel()
        numbers = [int(labels[image - 1]) - 1 for image in images]
    check_numbers(numbers, keys, path)
    rows = [(f"image_{image:05d}.jpg", keys[number]) for image, number in zip(images, numbers, strict=True)]
    return listed_files(files, "jpg", keys, rows)


def food(files: DatasetFiles, split: str) -> Listing:
    """Food-101, the official lists."""
    with reading(files.path(f"{split}.json")) as path:
        lists = json.loads(path.read_text(encoding="utf-8"))
        rows = [(f"{image}.jpg", dish) for dish, images in lists.items() for image in images]
    return listed_files(files, "images", sorted(lists), rows)


def pets(files: DatasetFiles, split: str) -> Listing:
    """Oxford-IIIT Pet by breed. The training split is trainval. Names are torchvision's: every word starts with a capital."""
    with reading(files.path("trainval.txt" if split == "train" else f"{split}.txt")) as path:
        rows = [(image, int(number)) for image, number, _, _ in (line.split() for line in text_lines(path))]
        breeds = [(" ".join(part.title() for part in image.rsplit("_", 1)[0].split("_")), number) for image, number in rows]
        by_number = {number: breed for breed, number in breeds}
        if len(set(breeds)) != len(by_number) or len(set(by_number.values())) != len(by_number):
            raise UserError(f"{path} gives one class number to several breeds, or one breed several numbers.")
    keys = [by_number[number] for number in sorted(by_number)]
    return listed_files(files, "images", keys, [(f"{image}.jpg", by_number[number]) for image, number in rows])


def cars(files: DatasetFiles, split: str) -> Listing:
    """Stanford Cars, with the labels of the test images in cars_test_annos_withlabels.mat."""
    from scipy.io import loadmat

    with reading(files.path("cars_meta.mat")) as path:
        keys = [str(name) for name in loadmat(str(path), squeeze_me=True)["class_names"].tolist()]
    with reading(files.path("cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")) as path:
        annotations = loadmat(str(path), squeeze_me=True)["annotations"]
        images = [str(annotation["fname"]) for annotation in annotations]
        numbers = [int(annotation["class"]) - 1 for annotation in annotations]
    check_numbers(numbers, keys, path)
    rows = [(image, keys[number]) for image, number in zip(images, numbers, strict=True)]
    return listed_files(files, f"cars_{split}", keys, rows)


def sun397(files: DatasetFiles, split: str) -> Listing:
    """SUN397, not split, sorted by path. torchvision lists the files in the file system's order (sorting is our choice)."""
    base, rows = files.path("SUN397"), []
    for folder, _, images in os.walk(base):
        scene = os.path.relpath(folder, base).replace(os.sep, "/")
        rows += [(f"{scene}/{image}", scene.partition("/")[2]) for image in images if fnmatch(image, "sun_*.jpg")]
    with reading(files.path("ClassName.txt")) as path:
        return listed_files(files, "SUN397", _scenes(path), sorted(rows))


def sun397_partition(files: DatasetFiles, split: str) -> Listing:
    """SUN397's official partition 01: Training_01.txt and Testing_01.txt, in SUN397/ or SUN397/Partitions/.

    It is the customary split. That PAINT uses it is not confirmed.
    """
    with reading(files.path("ClassName.txt")) as path:
        scenes = _scenes(path)
    with reading(files.path("Training_01.txt" if split == "train" else "Testing_01.txt")) as path:
        images = [line.lstrip("/") for line in text_lines(path)]
        rows = [(image, image.partition("/")[2].rpartition("/")[0]) for image in images]
        return listed_files(files, "SUN397", scenes, rows)


def _scenes(path: Path) -> list[str]:
    return [line[3:] for line in text_lines(path)]  # "/a/abbey" is "abbey"


def gtsrb(files: DatasetFiles, split: str) -> Listing:
    """German traffic signs: the folders of Training_fixed, and the final test images with GT-final_test.csv."""
    if split == "train":
        return class_folders(files, "Training")
    with reading(files.path("GT-final_test.csv")) as path, path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file, delimiter=";", skipinitialspace=True)
        rows = [(row["Filename"], f"{int(row['ClassId']):05d}") for row in table]
    return listed_files(files, "Final_Test/Images", sorted({key for _, key in rows}), rows)


def resisc45(files: DatasetFiles, split: str) -> Listing:
    """NWPU-RESISC45 with the published lists resisc45-{train,val,test}.txt, one CLASS_NNN.jpg per line."""
    with reading(files.path(f"resisc45-{split}.txt")) as path:
        rows = [(image.rsplit("_", 1)[0], image) for image in text_lines(path)]
    keys = sorted({key for key, _ in rows})
    return listed_files(files, "NWPU-RESISC45", keys, [(f"{key}/{image}", key) for key, image in rows])


def imagenet(files: DatasetFiles, split: str) -> Listing:
    """ImageNet-1k in folders by wnid. The validation images (val/ or val_in_folder/) are the test set."""
    return class_folders(files, "val" if split == "test" else split)


def tinyimagenet(files: DatasetFiles, split: str) -> Listing:
    """TinyImageNet: train/WNID/images, and the validation images with val_annotations.txt as the test set.

    The class order is that of the table, which is the order of TinyImageNet's wnids.txt. The class-incremental orders number
    the classes by it.
    """
    if split == "train":
        return class_folders(files, "train")
    with reading(files.path("val_annotations.txt")) as path:
        rows = [(image, wnid) for image, wnid, *_ in (line.split("\t") for line in text_lines(path))]
    return listed_files(files, "val/images", sorted({wnid for _, wnid in rows}), rows)
