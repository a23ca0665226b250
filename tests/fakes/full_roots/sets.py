"""The content of each made-up dataset. The layouts are those of the rehearsal (`tools.rehearsal_data`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tools.rehearsal_data import arrays, coop, folders, other_folders
from tools.rehearsal_data.content import Content
from tools.rehearsal_data.sets import SETS

from .files import Made, content

DIGITS = tuple(map(str, range(10)))
CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012")
SCENES = ("/a/abbey", "/a/airplane_cabin", "/a/apartment_building/outdoor")
WNIDS = ("n01440764", "n01443537", "n01484850")
THREE_SPLITS = {"train": 3, "val": 2, "test": 2}
TWO_SPLITS = {"train": 3, "test": 2}


class Fake(NamedTuple):
    """A layout, its content, the number of classes, and the images per split that a reader finds."""

    layout: Callable[[Path, Content], object]
    content: Content
    classes: int
    sizes: Mapping[str, int]

    def write(self, root: Path) -> Made:
        self.layout(root, self.content)
        return Made(self.classes, dict(self.sizes))


AIRCRAFT = content(("707-320", "A300B4", "F/A-18"), THREE_SPLITS)
CALTECH = content(("BACKGROUND_Google", "Faces", "accordion", "yin_yang"), {"all": 5}, grey=("yin_yang",))
CIFAR100 = content(("apple", "aquarium_fish", "baby"), {"train": 4, "test": 2})
DTD = content(("banded", "polka-dotted"), THREE_SPLITS)
EUROSAT = content(("AnnualCrop", "Forest", "SeaLake"), {"all": 10})
FOOD = content(("apple_pie", "baby_back_ribs"), TWO_SPLITS)
TEN = content(DIGITS, {"train": 2, "test": 1})
PETS = content(("Abyssinian", "american_bulldog", "Bengal"), {"train": 2, "test": 2})
SUN = content(SCENES, TWO_SPLITS)
IMAGENET = content(WNIDS, {"train": 3, "test": 1})
ONE_MORE = content(("n15075141",), {"train": 1, "test": 1})
"""A class that the table does not have."""


def imagenet(root: Path, first: Content) -> None:
    other_folders.imagenet(root, first)
    other_folders.imagenet(root, ONE_MORE)


FAKES: dict[str, Fake] = {
    "Aircraft": Fake(folders.aircraft, AIRCRAFT, 3, {"train": 9, "test": 6}),
    "Caltech101": Fake(folders.caltech101, CALTECH, 101, {"train": 12, "test": 3}),
    "CIFAR100": Fake(arrays.cifar100, CIFAR100, 3, {"train": 12, "test": 6}),
    "DTD": Fake(folders.dtd, DTD, 2, {"train": 6, "test": 4}),
    "EuroSAT": Fake(folders.eurosat, EUROSAT, 10, {"train": 24, "test": 6}),
    "Flowers": Fake(
        folders.flowers, content(("1", "2", "102"), {"train": 1, "val": 1, "test": 1}), 102, {"train": 3, "test": 3}
    ),
    "Food": Fake(folders.food, FOOD, 2, {"train": 6, "test": 4}),
    "MNIST": Fake(arrays.mnist, TEN, 10, {"train": 20, "test": 10}),
    "OxfordPet": Fake(folders.pets, PETS, 3, {"train": 6, "test": 6}),
    "StanfordCars": Fake(folders.cars, content(CARS, TWO_SPLITS), 3, {"train": 9, "test": 6}),
    "SUN397": Fake(folders.sun397, SUN, 3, {"train": 12, "test": 3}),
    "dtd": Fake(folders.dtd, DTD, 2, {"train": 10, "test": 4}),
    "eurosat": Fake(folders.eurosat, EUROSAT, 10, {"train": 24, "val": 3, "test": 3}),
    "gtsrb": Fake(folders.gtsrb, content(("00000", "00007", "00042"), {"train": 3, "test": 1}), 43, {"train": 9, "test": 3}),
    # Twelve videos of three images.
    "kitti": Fake(other_folders.kitti, content(DIGITS[:4], {"all": 9}), 4, {"train": 30, "val": 3, "test": 3}),
    "resisc45": Fake(
        folders.resisc45, content(("airplane", "baseball_diamond"), THREE_SPLITS), 45, {"train": 6, "val": 4, "test": 4}
    ),
    "sun397": Fake(folders.sun397, SUN, 3, {"train": 9, "test": 6}),
    "svhn": Fake(arrays.svhn, TEN, 10, {"train": 20, "test": 10}),
    "imagenet": Fake(imagenet, IMAGENET, 1000, {"train": 10, "test": 4}),
    "cifar10": Fake(arrays.cifar10, content(("airplane", "automobile"), {"train": 10, "test": 3}), 2, {"train": 20, "test": 6}),
    "stl10": Fake(arrays.stl10, content(("airplane", "bird", "car"), {"train": 2, "test": 1}), 3, {"train": 6, "test": 3}),
    "fashion_mnist": Fake(arrays.fashion_mnist, TEN, 10, {"train": 20, "test": 10}),
    "clevr": Fake(
        other_folders.clevr,
        content(tuple(map(str, range(3, 11))), {"train": 2, "val": 1, "test": 1}),
        8,
        {"train": 16, "test": 8},
    ),
    "tinyimagenet": Fake(
        other_folders.tinyimagenet,
        content(("n02124075", "n04067472", "n04540053"), {"train": 3, "test": 1}),
        200,
        {"train": 9, "test": 3},
    ),
    "imagenet100": Fake(imagenet, IMAGENET, 100, {"train": 9, "test": 3}),
    "cub": Fake(
        other_folders.cub,
        content(("001.Black_footed_Albatross", "002.Laysan_Albatross", "018.Spotted_Catbird"), TWO_SPLITS),
        3,
        {"train": 9, "test": 6},
    ),
    "imagenet-r": Fake(
        other_folders.imagenet_r,
        content(("n01443537", "n01484850", "n02007558"), {"train": 4, "test": 1}),
        3,
        {"train": 12, "test": 3},
    ),
    "objectnet": Fake(
        other_folders.objectnet, content(("Air freshener", "Banana", "T-shirt"), {"all": 5}), 3, {"train": 12, "test": 3}
    ),
    "coop-aircraft": Fake(folders.aircraft, AIRCRAFT, 3, {"train": 9, "val": 6, "test": 6}),
}
FAKES |= {"cars": FAKES["StanfordCars"], "mnist": FAKES["MNIST"], "cifar100": FAKES["CIFAR100"], "food101": FAKES["Food"]}

COOP: dict[str, tuple[str, Content]] = {
    "coop-caltech101": ("caltech101", CALTECH),
    "coop-cars": ("cars", content(CARS, TWO_SPLITS)),
    "coop-dtd": ("dtd", DTD),
    "coop-eurosat": ("eurosat", EUROSAT),
    "coop-flowers": ("flowers", content(("1", "2", "102"), {"train": 1, "val": 1, "test": 1})),
    "coop-food101": ("food101", FOOD),
    "coop-pets": ("pets", PETS),
    "coop-sun397": ("sun397", SUN),
    "coop-ucf101": ("ucf101", content(("Apply_Eye_Makeup", "YoYo"), {"all": 4})),
}
"""A set of the rehearsal and its content, for each of CoOp's files."""


def write_coop(root: Path, name: str) -> Made:
    """Write one of CoOp's files with its images. The number of classes and images is that of the file's lines."""
    set_name, filling = COOP[name]
    rehearsal_set = SETS[set_name]
    items = rehearsal_set.layout(root, filling)
    sizes = coop.write(root, rehearsal_set.coop, items)
    return Made(len({item.key for item in items} - {*rehearsal_set.coop.left_out}), sizes)
