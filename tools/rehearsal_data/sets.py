"""The datasets of the rehearsal: layout, class names, typical sizes of pictures and quality of JPEG files of each.

The class names in `names_*.txt` are those of the datasets, copied from the lists of TensorFlow Datasets (Apache-2.0) and, for
CIFAR-100, of CLIP's page of prompts (MIT).

Sizes and qualities are rounded guesses from the size of each archive and the number of its images (our choice).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.full.dataset_table import ENTRIES, names, suite
from models.registry import UserError, unknown
from tools.rehearsal_data import arrays, folders, other_folders
from tools.rehearsal_data.content import Content, Item, Size
from tools.rehearsal_data.coop import SplitFile

CAPTIONS = "conceptual_captions"
CAPTIONS_PER_IMAGE = 50
"""Captions for each image per class: 13,000 of them, as Conceptual Captions has, at 260."""
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class RehearsalSet:
    """One dataset on disk. Several entries of the table may read it.

    Attributes:
        entries: the names in `benchmarks/full/table.toml`.
        layout: writes the files.
        names: returns the name that pictures are made of, by class on disk, in the dataset's order.
        splits: the published splits that are written, or "all".
        size: typical width and height of an image in pixels.
        quality: quality of its JPEG files.
        varied: sizes of images differ.
        coop: CoOp's file for it.
        suffix: of its image files. None: its images are in arrays.
        odd: images that are not RGB files of the format that their name says, by class and number: a mode or a format.
    """

    entries: tuple[str, ...]
    layout: Callable[[Path, Content], Sequence[Item] | None]
    names: Callable[[], Mapping[str, str]]
    splits: tuple[str, ...]
    size: Size
    quality: int = 90
    varied: bool = False
    coop: SplitFile | None = None
    suffix: str | None = ".jpg"
    odd: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def per_class(self, count: int) -> dict[str, int]:
        """Return images per class and split for `count` training images: half as many for val and test, at least one."""
        other = max(1, count // 2)
        if self.layout is other_folders.captions:
            return {"all": 1}
        return {split: {"train": count, "all": count + 2 * other}.get(split, other) for split in self.splits}

    def images(self, count: int) -> int:
        """Return the number of pictures for `count` training images per class."""
        return sum(self.per_class(count).values()) * len(self.class_names(count))

    def class_names(self, count: int) -> dict[str, str]:
        """Return the name that pictures are made of, by class on disk."""
        chosen = self.names().items()
        return dict(islice(chosen, CAPTIONS_PER_IMAGE * count) if self.layout is other_folders.captions else chosen)


def _lines(file: str, prefix: int = 0) -> Callable[[], Mapping[str, str]]:
    """Return a function for the classes in names_FILE.txt here. Names are the classes without their first characters."""

    def read() -> Mapping[str, str]:
        lines = (Path(__file__).parent / f"names_{file}.txt").read_text(encoding="utf-8").splitlines()
        return {line: line[prefix:].replace("/", " ") for line in lines}

    return read


def _table(file: str, count: int | None = None) -> Callable[[], Mapping[str, str]]:
    """Return a function for the class names of the full edition's table."""
    return lambda: dict(islice(names(file).items(), count))


def _numbered(file: str, start: int) -> Callable[[], Mapping[str, str]]:
    """Return a function for classes whose names on disk are numbers."""
    return lambda: {str(number): name for number, name in enumerate(names(file).values(), start=start)}


def _caltech() -> Mapping[str, str]:
    return {"BACKGROUND_Google": "background", **names("caltech101")}


def _captions() -> Mapping[str, str]:
    kinds = list(names("imagenet").values())
    ways = ("a photo of a {} in the garden", "my {} on a sunny day", "the {} next to a wall", "a {} seen from above") * 4
    return {f"{way.format(kind)} {number}": kind for number, way in enumerate(ways) for kind in kinds[number::7]}


SETS: dict[str, RehearsalSet] = {
    "aircraft": RehearsalSet(
        ("Aircraft", "coop-aircraft"), folders.aircraft, _lines("aircraft"), ("train", "val", "test"), (1024, 700), 90, True
    ),
    "caltech101": RehearsalSet(
        ("Caltech101", "coop-caltech101"),
        folders.caltech101,
        _caltech,
        ("all",),
        (300, 240),
        80,
        True,
        SplitFile(
            "caltech101/split_zhou_Caltech101.json",
            "caltech101/101_ObjectCategories",
            lambda key: {"Faces": "face"}.get(key, key.lower()),
            left_out=("BACKGROUND_Google", "Faces_easy"),
        ),
        odd={("accordion", 0): "L", ("yin_yang", 1): "L"},
    ),
    "cifar100": RehearsalSet(
        ("CIFAR100", "cifar100"), arrays.cifar100, _lines("cifar100"), ("train", "test"), (32, 32), suffix=None
    ),
    "dtd": RehearsalSet(
        ("DTD", "dtd", "coop-dtd"),
        folders.dtd,
        _lines("dtd"),
        ("train", "val", "test"),
        (500, 450),
        92,
        True,
        SplitFile("dtd/split_zhou_DescribableTextures.json", "dtd/dtd/images"),
    ),
    "eurosat": RehearsalSet(
        ("EuroSAT", "eurosat", "coop-eurosat"),
        folders.eurosat,
        _table("eurosat"),
        ("all",),
        (64, 64),
        90,
        coop=SplitFile(
            "eurosat/split_zhou_EuroSAT.json",
            "eurosat/2750",
            lambda key: {"AnnualCrop": "Annual Crop Land", "SeaLake": "Sea or Lake"}.get(key, key),
        ),
    ),
    "flowers": RehearsalSet(
        ("Flowers", "coop-flowers"),
        folders.flowers,
        _numbered("flowers", 1),
        ("train", "val", "test"),
        (600, 500),
        75,
        True,
        SplitFile(
            "flowers-102/split_zhou_OxfordFlowers.json", "flowers-102/jpg", lambda key: list(names("flowers"))[int(key) - 1]
        ),
    ),
    "food101": RehearsalSet(
        ("Food", "food101", "coop-food101"),
        folders.food,
        _lines("food101"),
        ("train", "test"),
        (512, 480),
        75,
        True,
        SplitFile("food-101/split_zhou_Food101.json", "food-101/images"),
    ),
    "mnist": RehearsalSet(("MNIST", "mnist"), arrays.mnist, _table("digits"), ("train", "test"), (28, 28), suffix=None),
    "pets": RehearsalSet(
        ("OxfordPet", "coop-pets"),
        folders.pets,
        _lines("pets"),
        ("train", "test"),
        (440, 390),
        90,
        True,
        SplitFile("oxford-iiit-pet/split_zhou_OxfordPets.json", "oxford-iiit-pet/images", str.lower, official=True),
        odd={("Egyptian_Mau", 0): "GIF"},
    ),
    "cars": RehearsalSet(
        ("StanfordCars", "cars", "coop-cars"),
        folders.cars,
        _lines("cars"),
        ("train", "test"),
        (700, 480),
        85,
        True,
        SplitFile(
            "stanford_cars/split_zhou_StanfordCars.json",
            "stanford_cars",
            lambda key: " ".join([key.split()[-1], *key.split()[:-1]]),
            official=True,
        ),
    ),
    "sun397": RehearsalSet(
        ("SUN397", "sun397", "coop-sun397"),
        folders.sun397,
        _lines("sun397", 3),
        ("train", "test"),
        (1000, 750),
        90,
        True,
        SplitFile(
            "SUN397/split_zhou_SUN397.json",
            "SUN397",
            lambda key: " ".join(reversed(key[3:].split("/"))),
            official=True,
        ),
    ),
    "gtsrb": RehearsalSet(("gtsrb",), folders.gtsrb, _table("gtsrb"), ("train", "test"), (50, 50), varied=True, suffix=".ppm"),
    "kitti": RehearsalSet(("kitti",), other_folders.kitti, _numbered("kitti", 0), ("all",), (1242, 375), suffix=".png"),
    "resisc45": RehearsalSet(("resisc45",), folders.resisc45, _table("resisc45"), ("train", "val", "test"), (256, 256), 80),
    "svhn": RehearsalSet(("svhn",), arrays.svhn, _table("digits"), ("train", "test"), (32, 32), suffix=None),
    "imagenet": RehearsalSet(
        ("imagenet", "imagenet100"),
        other_folders.imagenet,
        _table("imagenet"),
        ("train", "test"),
        (500, 375),
        92,
        True,
        # ImageNet has some files in CMYK and one PNG.
        odd={("n01440764", 0): "CMYK", ("n02105855", 0): "PNG"},
    ),
    "cifar10": RehearsalSet(
        ("cifar10",), arrays.cifar10, lambda: {name: name for name in CIFAR10}, ("train", "test"), (32, 32), suffix=None
    ),
    "stl10": RehearsalSet(
        ("stl10",), arrays.stl10, lambda: {name: name for name in STL10}, ("train", "test"), (96, 96), suffix=None
    ),
    "fashion_mnist": RehearsalSet(
        ("fashion_mnist",), arrays.fashion_mnist, _numbered("fashion_mnist", 0), ("train", "test"), (28, 28), suffix=None
    ),
    "tinyimagenet": RehearsalSet(
        ("tinyimagenet",), other_folders.tinyimagenet, _table("tinyimagenet"), ("train", "test"), (64, 64), 85
    ),
    "clevr": RehearsalSet(
        ("clevr",), other_folders.clevr, _table("clevr"), ("train", "val", "test"), (480, 320), suffix=".png"
    ),
    "ucf101": RehearsalSet(
        ("coop-ucf101",),
        folders.middle_frames,
        _lines("ucf101"),
        ("all",),
        (320, 240),
        95,
        coop=SplitFile("ucf101/split_zhou_UCF101.json", "ucf101/UCF-101-midframes"),
    ),
    CAPTIONS: RehearsalSet((CAPTIONS,), other_folders.captions, _captions, ("all",), (450, 340), 85, True),
}


def chosen(only: Sequence[str]) -> list[str]:
    """Return the sets of these names, in the order of `SETS`; all sets for no name.

    A name is a set, an entry of the table or a suite of it (mtil, paint, cil, coop). Upper and lower case are the same.

    Raises:
        UserError: for an unknown name, and for an entry that the rehearsal does not have.
    """
    by_name: dict[str, set[str]] = {}
    for name, one in SETS.items():
        for known in (name, *one.entries):
            by_name.setdefault(known.lower(), set()).add(name)
    for each in ("mtil", "paint", "cil", "coop"):
        by_name[each] = {name for entry in suite(each) for name in by_name.get(entry.lower(), ())}
    wanted: set[str] = set()
    for name in only:
        if name.lower() not in by_name:
            if name in ENTRIES:
                raise UserError(f"The rehearsal has no files of {name}. Sets: {', '.join(SETS)}.")
            raise unknown("set", name, by_name)
        wanted |= by_name[name.lower()]
    return [name for name in SETS if not only or name in wanted]
