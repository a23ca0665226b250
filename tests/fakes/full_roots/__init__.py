"""Small made-up data in each dataset's real on-disk layout, for tests of the full edition.

`write(root, names)` writes entries of `benchmarks.full.dataset_table` (by default all) and returns their contents as
`Made(classes, sizes)`: the number of classes and the images per split. Load this package by path: tests are not a package.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tools.rehearsal_data import arrays, other_folders
from tools.rehearsal_data.content import idx

from .files import Made, content, picture, save
from .sets import COOP, FAKES, write_coop

__all__ = ["WRITERS", "all_classes", "captions", "idx", "picture", "save", "write", "write_hub"]

WRITERS = {name: fake.write for name, fake in FAKES.items()}
WRITERS |= {name: partial(write_coop, name=name) for name in COOP}


def write(root: Path, names: Iterable[str] | None = None) -> dict[str, Made]:
    """Write these entries under the root and return their contents."""
    return {name: WRITERS[name](root) for name in (WRITERS if names is None else names)}


def captions(root: Path) -> None:
    """Write Conceptual Captions' validation table and three of its images, the full edition's reference data."""
    other_folders.captions(root, content(("a red car on a road", "two dogs play", "the sky above a lake"), {"all": 1}))


def all_classes(root: Path) -> None:
    """Write the three class-incremental datasets with every class, and one class of ImageNet beyond its first hundred.

    Each class has two training images and one test image (CIFAR-100: two).
    """
    from benchmarks.full.dataset_table import names

    arrays.cifar100(root, content([f"kind_{label}" for label in range(100)], {"train": 2, "test": 2}))
    other_folders.tinyimagenet(root, content(list(names("tinyimagenet")), {"train": 2, "test": 1}))
    other_folders.imagenet(root, content(list(names("imagenet"))[:101], {"train": 2, "test": 1}))


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
