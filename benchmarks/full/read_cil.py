"""Readers of CUB-200-2011, ImageNet-R and ObjectNet, in the layouts of the authors' archives."""

from __future__ import annotations

import json

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import Missing, names
from benchmarks.full.listing import Listing, class_folders, listed_files, reading, text_lines
from models.registry import UserError


def cub(files: DatasetFiles, split: str) -> Listing:
    """CUB-200-2011: images.txt numbers the images, and other lists have the class and the split of each number."""
    lists: dict[str, dict[str, str]] = {}
    for name in ("classes", "images", "image_class_labels", "train_test_split"):
        with reading(files.path(f"{name}.txt")) as path:
            lists[name] = {number: value for number, value in (line.split(" ", 1) for line in text_lines(path))}
    classes, images, labels, in_train = lists.values()
    for name, numbers in (("image_class_labels", labels), ("train_test_split", in_train)):
        if numbers.keys() != images.keys():
            raise UserError(f"{files.path(f'{name}.txt')} and images.txt do not list the same images: one is damaged.")
    if missing := set(labels.values()) - set(classes):
        raise UserError(f"{files.path('classes.txt')} has no class {min(missing)}, which image_class_labels.txt uses.")
    wanted = "1" if split == "train" else "0"
    rows = [(image, classes[labels[number]]) for number, image in images.items() if in_train[number] == wanted]
    return listed_files(files, "images", list(classes.values()), rows)


def bird(key: str) -> str:
    """Class name from CUB's "001.Black_footed_Albatross": no number, and blanks."""
    return key.partition(".")[2].replace("_", " ")


def imagenet_r(files: DatasetFiles, split: str) -> Listing:
    """ImageNet-R by the lists of mammoth: class folders sorted by wnid, images in the list's order.

    After "data:" a line is "- data/imagenet-r/WNID/FILE", after "targets:" "- NUMBER". Classes are the archive's folders.

    Raises:
        Missing: an image of the list does not exist. The paper has no sizes of splits to compare with.
    """
    keys, _ = files.classes("imagenet-r")
    with reading(files.path(f"imagenet-r_{split}.yaml")) as path:
        items = [line[2:] for line in text_lines(path) if line.startswith("- ")]
        images = [item.split("/", 2)[2] for item in items if "/" in item]
        if len(items) != 2 * len(images):
            raise ValueError(f"{len(images):,} images and {len(items) - len(images):,} targets")
        listing = listed_files(files, "imagenet-r", keys, [(image, image.partition("/")[0]) for image in images])
    if len(listing.files) < len(images):
        raise Missing(f"{len(images) - len(listing.files):,} of the {len(images):,} images in {path} are missing.")
    return listing


def imagenet_name(key: str) -> str:
    """Class name of an ImageNet wnid."""
    return names("imagenet").get(key, key)


def objectnet(files: DatasetFiles, split: str) -> Listing:
    """ObjectNet, not split: folders sorted by name. folder_to_objectnet_label.json has the class name of each."""
    listing = class_folders(files, "images")
    with reading(files.path("folder_to_objectnet_label.json")) as path:
        label_of = json.loads(path.read_text(encoding="utf-8"))
        labels = {key: str(label_of[key]) for key in listing.keys}
        if len(set(labels.values())) < len(labels):
            raise UserError(f"{path} gives one class name to several folders.")
    return Listing(tuple(labels.values()), [labels[key] for key in listing.labels], listing.files)
