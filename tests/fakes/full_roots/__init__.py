"""Small made-up data in each dataset's real on-disk layout, for tests of the full edition.

`write(root, names)` writes entries of `benchmarks.full.dataset_table` (by default all) and returns their contents as
`Made(classes, sizes)`: the number of classes and the images per split. Load this package by path: tests are not a package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .arrays import cifar10, cifar100, cifar_arrays, fashion_mnist, mnist, stl10, svhn
from .cil import cub, imagenet_r, objectnet
from .coop import LAYOUTS, writer
from .files import Made, idx, pickled, picture, save, text
from .folders import (
    aircraft,
    aircraft_coop,
    caltech101,
    cars,
    clevr,
    dtd,
    dtd_merged,
    eurosat,
    eurosat_paint,
    flowers,
    food,
    gtsrb,
    imagenet,
    imagenet100,
    kitti,
    pets,
    resisc45,
    sun397,
    sun397_partition,
    tinyimagenet,
)

__all__ = ["WRITERS", "all_classes", "captions", "idx", "picture", "save", "write", "write_hub"]

WRITERS: dict[str, Callable[[Path], Made]] = {
    "Aircraft": aircraft,
    "Caltech101": caltech101,
    "CIFAR100": cifar100,
    "DTD": dtd,
    "EuroSAT": eurosat,
    "Flowers": flowers,
    "Food": food,
    "MNIST": mnist,
    "OxfordPet": pets,
    "StanfordCars": cars,
    "SUN397": sun397,
    "cars": cars,
    "dtd": dtd_merged,
    "eurosat": eurosat_paint,
    "gtsrb": gtsrb,
    "kitti": kitti,
    "mnist": mnist,
    "resisc45": resisc45,
    "sun397": sun397_partition,
    "svhn": svhn,
    "imagenet": imagenet,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
    "food101": food,
    "fashion_mnist": fashion_mnist,
    "clevr": clevr,
    "tinyimagenet": tinyimagenet,
    "imagenet100": imagenet100,
    "cub": cub,
    "imagenet-r": imagenet_r,
    "objectnet": objectnet,
    "coop-aircraft": aircraft_coop,
    **{name: writer(name) for name in LAYOUTS},
}


def write(root: Path, names: Iterable[str] | None = None) -> dict[str, Made]:
    """Write these entries under the root and return their contents."""
    return {name: WRITERS[name](root) for name in (WRITERS if names is None else names)}


def captions(root: Path) -> None:
    """Write Conceptual Captions' validation table and three of its images, the full edition's reference data."""
    base, rows = root / "conceptual_captions", ["title\tfilepath"]
    for number, title in enumerate(("a red car on a road", "two dogs play", "the sky above a lake")):
        save(base / "validation" / f"{number}.jpg", number, number)
        rows.append(f"{title}\tvalidation/{number}.jpg")
    text(base / "Validation_GCC-1.1.0-Validation_output.csv", rows)


def all_classes(root: Path) -> None:
    """Write the three class-incremental datasets with every class, and one class of ImageNet beyond its first hundred.

    Each class has two training images and one test image (CIFAR-100: two).
    """
    from benchmarks.full.dataset_table import names

    base = root / "cifar-100-python"
    for split, start in (("train", 0), ("test", 500)):
        data, labels = cifar_arrays(200, 100, start)
        pickled(base / split, {"data": data, "fine_labels": labels})
    pickled(base / "meta", {"fine_label_names": [f"kind_{label}" for label in range(100)]})
    base, rows = root / "tiny-imagenet-200", []
    for label, wnid in enumerate(names("tinyimagenet")):
        for number in range(2):
            save(base / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", label, number)
        save(base / "val" / "images" / f"val_{label}.JPEG", label, 9)
        rows.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t9\t9")
    text(base / "val" / "val_annotations.txt", rows)
    for label, wnid in enumerate(list(names("imagenet"))[:101]):
        for number in range(2):
            save(root / "imagenet" / "train" / wnid / f"{wnid}_{number}.JPEG", label, number)
        save(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{label:08d}.JPEG", label, 9)


def write_hub(
    folder: Path, splits: dict[str, int], classes: list[str], image: str, label: str, parquet: str | None = None
) -> None:
    """Write a hub copy with this number of images per split, labelled 0, 1, 2, ... in turn.

    `parquet` is the subfolder of a parquet snapshot. Without it the folder has the format of `save_to_disk`.
    """
    import datasets

    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=classes)})
    made = {}
    for split, count in splits.items():
        labels = [number % len(classes) for number in range(count)]
        rows = {image: [picture(n, i) for i, n in enumerate(labels)], label: labels}
        made[split] = datasets.Dataset.from_dict(rows, features=features)
    if parquet is None:
        datasets.DatasetDict(made).save_to_disk(str(folder))
        return
    for split, data in made.items():
        (folder / parquet).mkdir(parents=True, exist_ok=True)
        data.to_parquet(str(folder / parquet / f"{split}-00000-of-00001.parquet"))
