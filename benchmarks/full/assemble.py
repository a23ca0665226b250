"""From a table entry and a data folder to a `Domain`: which reader, which split rule, which class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Subset

from benchmarks.data.dataset import targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.hub_images import HubImages
from benchmarks.data.images import ArrayImages, ImageFiles
from benchmarks.data.sampling import permutation
from benchmarks.full import hub_copies as hub
from benchmarks.full import kitti
from benchmarks.full import read_arrays as arrays
from benchmarks.full import read_folders as trees
from benchmarks.full.dataset_table import SPLITS, Entry, Missing, entry
from benchmarks.full.downloads import how_to_get
from benchmarks.full.parts import Part, union
from models.registry import UserError

Read = Callable[[Path, str], Part]
SEED = 42


def spaces(key: str) -> str:
    """A class name from a folder or torchvision's list: underscores are spaces (ZSCL's code)."""
    return key.replace("_", " ")


def plain(key: str) -> str:
    """The name as it stands (PAINT's and ZSCL's class-incremental code for CIFAR)."""
    return key


def path_spaces(key: str) -> str:
    """PAINT's SUN397 folders join the parts of a scene's path, so a slash is a space too."""
    return key.replace("/", " ").replace("_", " ")


def titled(key: str) -> str:
    """torchvision's names of the pets: every word with a capital."""
    return " ".join(part.title() for part in key.replace("_", " ").split(" "))


class Recipe(NamedTuple):
    """How one entry is read.

    `name` turns a key into a class name where the table fixes none; `mode` is what images are converted to when they are
    read.
    """

    read: Read
    splits: tuple[str, ...] = ("train", "test")
    name: Callable[[str], str] = spaces
    mode: str | None = "RGB"


def _idx(folder: str) -> Read:
    return lambda root, split: arrays.mnist(root / folder / "raw", split)


RECIPES: dict[str, Recipe] = {
    "Aircraft": Recipe(trees.aircraft),
    # torchvision leaves Caltech's images as they are stored, some grey.
    "Caltech101": Recipe(trees.caltech101, mode=None),
    "CIFAR100": Recipe(arrays.cifar100),
    "DTD": Recipe(trees.dtd),
    "EuroSAT": Recipe(trees.eurosat),
    "Flowers": Recipe(arrays.flowers),
    "Food": Recipe(trees.food),
    "MNIST": Recipe(_idx("MNIST"), mode=None),
    "OxfordPet": Recipe(trees.pets, name=titled),
    "StanfordCars": Recipe(trees.cars),
    "SUN397": Recipe(trees.sun397),
    "cars": Recipe(trees.cars, name=plain),
    "dtd": Recipe(trees.dtd_merged),
    "eurosat": Recipe(trees.eurosat, splits=SPLITS),
    "gtsrb": Recipe(trees.gtsrb),
    "kitti": Recipe(kitti.read, splits=SPLITS),
    "mnist": Recipe(_idx("MNIST"), mode=None),
    "resisc45": Recipe(trees.resisc45, splits=SPLITS),
    "sun397": Recipe(trees.sun397_partition, name=path_spaces),
    "svhn": Recipe(arrays.svhn),
    "imagenet": Recipe(trees.imagenet),
    "cifar10": Recipe(arrays.cifar10, name=plain),
    "cifar100": Recipe(arrays.cifar100, name=plain),
    "stl10": Recipe(arrays.stl10, name=plain),
    "food101": Recipe(trees.food),
    "fashion_mnist": Recipe(_idx("FashionMNIST"), mode=None),
    "tinyimagenet": Recipe(trees.tinyimagenet),
    "imagenet100": Recipe(trees.imagenet100),
}


def build(name: str, data_root: str | Path, splits: Sequence[str], progress: Any = None) -> Domain:
    """See `benchmarks.full.build`."""
    row, root = entry(name), Path(data_root)
    recipe = recipe_of(row)
    if unknown := set(splits) - set(SPLITS):
        raise UserError(f"Unknown split {sorted(unknown)[0]!r}: there are {', '.join(SPLITS)}.")
    wanted = [split for split in recipe.splits if split in splits]
    hub_folder = hub.folder_of(name, root)
    try:
        if not all((root / folder).exists() for folder in row.folder):
            raise missing(row, root)
        keys, datasets = _from_files(row, recipe, root, wanted, progress)
        origin = "the paper's split"
    except Missing as error:
        if row.hub is None or not hub_folder.is_dir():
            raise Missing(f"The dataset {name} is missing or incomplete: {error} {how_to_get(row, root)}") from error
        keys, datasets = _from_hub(row, recipe, hub_folder, wanted, progress)
        origin = f"the hub copy in {hub_folder}"
    fixed = row.fixed
    return Domain(
        name,
        tuple(fixed.get(key) or recipe.name(key) for key in keys),
        row.templates,
        datasets.get("train"),
        datasets.get("val"),
        datasets.get("test"),
        licence=row.licence,
        source=row.source,
        split_sources={split: _origin(row, split, origin) for split in datasets},
        published=True,
    )


def _origin(row: Entry, split: str, origin: str) -> str:
    """Where a split comes from, for `Domain.split_sources`."""
    if not row.cut:
        return origin
    shares = dict(zip(("train", "val"), row.cut, strict=False))
    share = shares.get(split, 1 - sum(row.cut))
    return f"{share:.0%} of all images, seed {SEED}".replace("%", " %")


def recipe_of(row: Entry) -> Recipe:
    """How an entry is read. Raises NotImplementedError for one that the table has and `RECIPES` lacks."""
    if row.name not in RECIPES:
        raise NotImplementedError(f"benchmarks/full/assemble.py does not say how {row.name} is read: add it to RECIPES.")
    return RECIPES[row.name]


def missing(row: Entry, root: Path) -> Missing:
    """The error for data that is not there at all: what was expected."""
    places = " and ".join(str(root / folder) for folder in row.folder)
    copy = f" (or a hub copy in {hub.folder_of(row.name, root)})" if row.hub else ""
    return Missing(f"{places} is expected{copy}.")


def cut(n: int, fractions: Sequence[float]) -> dict[str, list[int]]:
    """Indices of a seeded split of n images: the first int(fraction * n) of torch's permutation with seed 42 train, and so
    on; the rest is the test set (ZSCL: `random_split` with Generator seed 42, 80/20).
    """
    order = permutation(n, SEED)
    names = ("train", "val")[: len(fractions)]
    parts, start = {}, 0
    for split, fraction in zip(names, fractions, strict=True):
        size = int(fraction * n)
        parts[split], start = order[start : start + size], start + size
    return {**parts, "test": order[start:]}


def _from_files(row: Entry, recipe: Recipe, root: Path, wanted: list[str], progress: Any) -> tuple[list[str], dict[str, Any]]:
    parts = {}
    what = row.name if row.cut or not wanted else f"{row.name} ({wanted[-1]})"
    if row.cut:
        _tell(progress, 0, 1, what)
        whole = recipe.read(root, "all")
        indices = cut(len(whole.labels), row.cut)
        parts = {split: whole.take(indices[split]) for split in wanted}
    else:
        for step, split in enumerate(wanted):
            _tell(progress, step, len(wanted), f"{row.name} ({split})")
            parts[split] = recipe.read(root, split)
    _tell(progress, 1, 1, what)
    for split, part in parts.items():
        _some(row, split, len(part.labels), root)
    found = union([part.keys for part in parts.values()])
    keys = [*row.fixed, *(key for key in found if key not in row.fixed)]
    place = {key: index for index, key in enumerate(keys)}
    return keys, {split: _dataset(part, place, recipe.mode) for split, part in parts.items()}


def _dataset(part: Part, place: dict[str, int], mode: str | None) -> Any:
    targets = [place[label] for label in part.labels]
    if isinstance(part.images, np.ndarray):
        return ArrayImages(part.images, targets, part.source)
    return ImageFiles(part.images, targets, mode)


def _from_hub(row: Entry, recipe: Recipe, folder: Path, wanted: list[str], progress: Any) -> tuple[list[str], dict[str, Any]]:
    _tell(progress, 0, 1, f"{row.name} (hub copy)")
    keys, found = hub.read(row, folder, ["all"] if row.cut else wanted, recipe.mode)
    _tell(progress, 1, 1, f"{row.name} (hub copy)")
    lacking = [split for split in (["all"] if row.cut else wanted) if split not in found and split != "val"]
    if lacking:
        raise Missing(f"The hub copy {folder} of {row.name} has no data for the split {lacking[0]}.")
    datasets: dict[str, Any] = dict(found)
    if row.cut:
        indices = cut(len(found["all"]), row.cut)
        datasets = {split: Subset(found["all"], indices[split]) for split in wanted}
    for split, dataset in datasets.items():
        _some(row, split, len(dataset), folder)
    return keys, datasets


def _some(row: Entry, split: str, images: int, place: Path) -> None:
    if images == 0:
        raise Missing(f"{row.name} has no images in its {split} split under {place}.")


def _tell(progress: Any, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(done, total, f"reading {what}")


def differences(domain: Domain, row: Entry) -> list[str]:
    """See `benchmarks.full.differences`."""
    said = []
    if len(domain.classnames) != row.classes:
        said.append(f"{row.name} has {len(domain.classnames)} classes here; the paper has {row.classes}.")
    if strange := [name for name in domain.classnames if row.fixed and name not in row.fixed.values()]:
        said.append(f"{row.name} has classes that the paper does not know: {', '.join(strange[:5])}.")
    for split in SPLITS:
        dataset = getattr(domain, split)
        if dataset is None:
            continue
        size = row.sizes[split]
        if size is not None and len(dataset) != size:
            said.append(f"{row.name} has {len(dataset):,} {split} images here; the paper has {size:,}.")
        if split == "val":
            continue
        empty = sorted(set(range(len(domain.classnames))) - set(targets_of(dataset)))
        if empty:
            names = ", ".join(domain.classnames[i] for i in empty[:3]) + (", ..." if len(empty) > 3 else "")
            said.append(f"{len(empty)} of the {len(domain.classnames)} classes of {row.name} have no {split} images: {names}.")
    copies = [copy for split in SPLITS if (copy := _hub_copy(getattr(domain, split))) is not None]
    if not copies:
        return said
    start = f"{row.name} is {copies[0].what}"
    if row.cut:
        said.append(f"{start}: its images come in another order, so the seeded split is not the paper's.")
    if any(copy.by_number for copy in copies):
        said.append(f"{start}: not all its class names are known, so classes go by number.")
    if domain.train is not None and domain.val is None and row.val is not None:
        said.append(f"{start}, which has no val split; the paper's has {row.val:,} images.")
    return said


def _hub_copy(dataset: Any) -> HubImages | None:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, HubImages) else None
