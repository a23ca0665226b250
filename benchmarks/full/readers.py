"""The reader of every dataset, the images that it counts, and the rules for class names. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.full import clevr, kitti, read_arrays, read_cil, read_folders
from benchmarks.full.coop_splits import split_file
from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import Entry
from benchmarks.full.listing import Listing


def spaces(key: str) -> str:
    """Class name from a folder or torchvision's list: underscores become spaces (ZSCL's code)."""
    return key.replace("_", " ")


def unchanged(key: str) -> str:
    """Class name equal to its key (PAINT's code, and ZSCL's class-incremental code for CIFAR)."""
    return key


def path_spaces(key: str) -> str:
    """Class name from SUN397's scene path: underscores and slashes become spaces (PAINT's folder names)."""
    return key.replace("/", " ").replace("_", " ")


def titled(key: str) -> str:
    """Class name as torchvision names the pets: every word starts with a capital."""
    return " ".join(part.title() for part in key.replace("_", " ").split(" "))


class Reader(NamedTuple):
    """Listing function and conventions of one dataset.

    Attributes:
        list_split: lists a split's images and labels, or all images ("all") of a set that the benchmark splits.
        class_name: turns a key into a class name, for keys that the table does not name.
        mode: the mode that images are converted to. None keeps the stored one.
    """

    list_split: Callable[[DatasetFiles, str], Listing]
    class_name: Callable[[str], str] = spaces
    mode: str | None = "RGB"


READERS: dict[str, Reader] = {
    "Aircraft": Reader(read_folders.aircraft),
    # torchvision keeps Caltech's images as they are stored, and some are grey.
    "Caltech101": Reader(read_folders.caltech101, mode=None),
    "CIFAR100": Reader(read_arrays.cifar100),
    "DTD": Reader(read_folders.dtd),
    "EuroSAT": Reader(read_folders.eurosat),
    "Flowers": Reader(read_folders.flowers),
    "Food": Reader(read_folders.food),
    "MNIST": Reader(read_arrays.mnist, mode=None),
    "OxfordPet": Reader(read_folders.pets, titled),
    "StanfordCars": Reader(read_folders.cars),
    "SUN397": Reader(read_folders.sun397),
    "cars": Reader(read_folders.cars, unchanged),
    "dtd": Reader(read_folders.dtd_merged),
    "eurosat": Reader(read_folders.eurosat),
    "gtsrb": Reader(read_folders.gtsrb),
    "kitti": Reader(kitti.read),
    "mnist": Reader(read_arrays.mnist, mode=None),
    "resisc45": Reader(read_folders.resisc45),
    "sun397": Reader(read_folders.sun397_partition, path_spaces),
    "svhn": Reader(read_arrays.svhn),
    "imagenet": Reader(read_folders.imagenet),
    "cifar10": Reader(read_arrays.cifar10, unchanged),
    "cifar100": Reader(read_arrays.cifar100, unchanged),
    "stl10": Reader(read_arrays.stl10, unchanged),
    "food101": Reader(read_folders.food),
    "fashion_mnist": Reader(read_arrays.mnist, mode=None),
    "clevr": Reader(clevr.read, unchanged),
    "tinyimagenet": Reader(read_folders.tinyimagenet),
    "imagenet100": Reader(read_folders.imagenet),
    "cub": Reader(read_cil.cub, read_cil.bird),
    "imagenet-r": Reader(read_cil.imagenet_r, read_cil.imagenet_name),
    "objectnet": Reader(read_cil.objectnet, unchanged),
    "coop-aircraft": Reader(read_folders.aircraft),
    "coop-caltech101": Reader(split_file("split_zhou_Caltech101.json", "101_ObjectCategories")),
    "coop-cars": Reader(split_file("split_zhou_StanfordCars.json", "cars_{}")),
    "coop-dtd": Reader(split_file("split_zhou_DescribableTextures.json", "images")),
    "coop-eurosat": Reader(split_file("split_zhou_EuroSAT.json", "2750")),
    "coop-flowers": Reader(split_file("split_zhou_OxfordFlowers.json", "jpg")),
    "coop-food101": Reader(split_file("split_zhou_Food101.json", "images")),
    "coop-pets": Reader(split_file("split_zhou_OxfordPets.json", "images")),
    "coop-sun397": Reader(split_file("split_zhou_SUN397.json", "SUN397")),
    "coop-ucf101": Reader(split_file("split_zhou_UCF101.json", "UCF-101-midframes")),
}


def reader_of(row: Entry) -> Reader:
    """Return the reader of an entry. Raises NotImplementedError for an entry that `READERS` does not have."""
    if row.name not in READERS:
        raise NotImplementedError(f"benchmarks/full/readers.py has no reader for {row.name}: add it to READERS.")
    return READERS[row.name]


def list_images(row: Entry, root: Path, split: str) -> Listing:
    """List the images of one split under the data folder, or all of them ("all") for a set that the benchmark splits.

    Raises:
        Missing: for a file or folder that does not exist.
        UserError: for a damaged file.
    """
    return reader_of(row).list_split(DatasetFiles(row, root), split)
