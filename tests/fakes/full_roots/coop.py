"""Made-up files with the splits published with CoOp, next to made-up images in torchvision's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import folders
from .files import Made, save, text

SPLITS = ("train", "val", "test")


class Layout(NamedTuple):
    """A JSON file, the folder that its paths are relative to, and a writer of the images there."""

    file: str
    images: str
    write: Callable[[Path], Made]
    kind: Callable[[str], str] = lambda path: path.rpartition("/")[0]
    names: dict[str, str] = {}  # class names that are not the kind, in CoOp's words


def middle_frames(root: Path) -> Made:
    for label, name in enumerate(("Apply_Eye_Makeup", "YoYo")):
        for number in range(1, 5):
            save(root / "ucf101" / "UCF-101-midframes" / name / f"v_{name}_g01_c{number:02d}.jpg", label, number)
    return Made(2, {})


LAYOUTS = {
    "coop-caltech101": Layout(
        "caltech101/split_zhou_Caltech101.json",
        "caltech101/101_ObjectCategories",
        folders.caltech101,
        names={"Faces": "face"},
    ),
    "coop-cars": Layout(
        "stanford_cars/split_zhou_StanfordCars.json",
        "stanford_cars",
        folders.cars,
        # The made-up cars are of three kinds in turn.
        lambda path: str((int(path[-9:-4]) - 1) % 3),
        {str(n): " ".join([car.split()[-1], *car.split()[:-1]]) for n, car in enumerate(folders.CARS)},
    ),
    "coop-dtd": Layout("dtd/split_zhou_DescribableTextures.json", "dtd/dtd/images", folders.dtd),
    "coop-eurosat": Layout(
        "eurosat/split_zhou_EuroSAT.json",
        "eurosat/2750",
        folders.eurosat,
        names={"AnnualCrop": "Annual Crop Land", "SeaLake": "Sea or Lake"},
    ),
    "coop-flowers": Layout(
        "flowers-102/split_zhou_OxfordFlowers.json",
        "flowers-102/jpg",
        folders.flowers,
        lambda path: ("pink primrose", "hard-leaved pocket orchid", "blackberry lily")[(int(path[-9:-4]) - 1) % 3],
    ),
    "coop-food101": Layout("food-101/split_zhou_Food101.json", "food-101/images", folders.food),
    "coop-pets": Layout(
        "oxford-iiit-pet/split_zhou_OxfordPets.json",
        "oxford-iiit-pet/images",
        folders.pets,
        lambda path: path.rpartition("_")[0].lower(),
    ),
    "coop-sun397": Layout(
        "SUN397/split_zhou_SUN397.json",
        "SUN397",
        folders.sun397,
        lambda path: path.split("/", 1)[1].rpartition("/")[0],
        {"apartment_building/outdoor": "outdoor apartment building"},
    ),
    "coop-ucf101": Layout("ucf101/split_zhou_UCF101.json", "ucf101/UCF-101-midframes", middle_frames),
}


def writer(name: str) -> Callable[[Path], Made]:
    """Return the writer of one dataset: the images of each class are train, val, test, train, ... in turn."""
    layout = LAYOUTS[name]

    def write(root: Path) -> Made:
        layout.write(root)
        base = root / layout.images
        paths = sorted(path.relative_to(base).as_posix() for path in base.rglob("*.jpg"))
        paths = [path for path in paths if not path.startswith("BACKGROUND")]
        labels = {kind: label for label, kind in enumerate(sorted(map(layout.kind, paths)))}
        labels = {kind: label for label, kind in enumerate(dict.fromkeys(labels))}
        content: dict[str, list[list[object]]] = {split: [] for split in SPLITS}
        turns = dict.fromkeys(labels, 0)
        for path in paths:
            kind = layout.kind(path)
            split = SPLITS[turns[kind] % 4 % 3]
            if name in ("coop-cars", "coop-dtd", "coop-food101"):  # these paths have the word test
                split = "test" if "test" in path else SPLITS[turns[kind] % 2]
            turns[kind] += 1
            content[split].append([path, labels[kind], layout.names.get(kind, kind)])
        text(root / layout.file, [json.dumps(content)])
        return Made(len(labels), {split: len(rows) for split, rows in content.items()})

    return write
