"""The table of the papers' datasets: sizes, templates, licences, files and how to get them. Imports neither torch nor numpy.

`table.toml` is the source. Long lists are separate files: class names (`names_*.txt`, one class per line in class order,
"key<TAB>name" if the class has another name on disk, such as a folder or a code), ImageNet's templates, and the class orders
of the class-incremental benchmarks.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from models.registry import UserError, unknown

HERE = Path(__file__).parent
SPLITS = ("train", "val", "test")


class Missing(UserError):
    """A missing dataset, or a missing file or folder of a dataset."""


@dataclass(frozen=True)
class Hub:
    """A copy of a dataset on the Hugging Face hub.

    Attributes:
        id: name of the copy on the hub.
        config: its configuration.
        image: column of the images.
        label: column of the labels.
        splits: the copy's splits that make up each of our splits, in order: {"test": ("validation",)}, or {"all": (...)} for
            a set that the benchmark splits.
    """

    id: str
    config: str | None = None
    image: str = "image"
    label: str = "label"
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"train": ("train",), "test": ("test",)})


@dataclass(frozen=True)
class Entry:
    """One dataset of the benchmarks.

    Attributes:
        name: name of the dataset.
        suite: "mtil", "paint", "cases" (case studies), "cil" or "coop" (CoOp's splits).
        about: one line for lists.
        classes: the paper's number of classes.
        train: the paper's number of training images. None, also for the other splits: not stated, or the split does not exist.
        val: validation images.
        test: test images.
        templates: the prompt templates.
        names: the file of its class names, if the benchmark fixes them. None: the data has them.
        lr: MTIL's learning rate for it.
        folder: paths under the data folder that must exist, in torchvision's layout.
        reads: the files and folders that are read, as patterns (see `benchmarks.full.dataset_files`).
        root: the root for torchvision's class, relative to the data folder.
        torchvision: torchvision's class.
        hub: the copy on the Hugging Face hub.
        licence: licence of the data.
        source: web page of the data.
        get: one or two sentences on how to get the data.
        cut: fractions of train and, for some, val, of a set that is not split and that the benchmark splits by a seed.
        also: other suites that use it.
        consent: users must ask the authors for access, so it is fetched only by name.
    """

    name: str
    suite: str
    about: str
    classes: int
    train: int | None
    val: int | None
    test: int | None
    templates: tuple[str, ...]
    names: str | None
    lr: float | None
    folder: tuple[str, ...]
    reads: tuple[str, ...]
    root: str
    torchvision: str | None
    hub: Hub | None
    licence: str
    source: str
    get: str
    cut: tuple[float, ...] = ()
    also: tuple[str, ...] = ()
    consent: bool = False

    @property
    def sizes(self) -> dict[str, int | None]:
        """Images per split. None: the split does not exist, or its size is not stated."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that the benchmark uses."""
        return SPLITS if self.val else ("train", "test")

    @property
    def counted_splits(self) -> dict[str, int | None]:
        """Images per split of the data on disk, or of "all" for a set that the benchmark splits; None if not stated."""
        if self.cut:
            return {"all": sum(filter(None, self.sizes.values())) or None}
        return {split: size for split, size in self.sizes.items() if size is not None or split != "val"}

    @property
    def fixed(self) -> dict[str, str]:
        """Class names by the class's name on disk, in class order. Empty if the data has the names."""
        return dict(islice(names(self.names).items(), self.classes)) if self.names else {}


def load() -> dict[str, Entry]:
    """Read the table from `table.toml`, in the file's order."""
    with (HERE / "table.toml").open("rb") as file:
        raw = tomllib.load(file)
    templates = {**raw.pop("templates"), "imagenet": lines("templates_imagenet")}
    return {name: _entry(name, row, templates) for name, row in raw.items()}


def _entry(name: str, row: dict[str, Any], templates: dict[str, Any]) -> Entry:
    hub = row.pop("hub", None)
    if hub is not None:
        if "splits" in hub:
            hub["splits"] = {split: tuple(parts) for split, parts in hub["splits"].items()}
        hub = Hub(**hub)
    optional = {key: row.pop(key, None) for key in ("train", "val", "test", "names", "lr", "torchvision")}
    lists: dict[str, Any] = {key: tuple(row.pop(key)) for key in ("folder", "reads", "cut", "also") if key in row}
    return Entry(
        name=name,
        templates=tuple(templates[row.pop("templates")]),
        root=row.pop("root", ""),
        hub=hub,
        **optional,
        **lists,
        **row,
    )


def entry(name: str) -> Entry:
    """Return the entry of a dataset. Raises UserError for an unknown name."""
    if name not in ENTRIES:
        raise unknown("dataset", name, ENTRIES)
    return ENTRIES[name]


def root_flag(data_root: str | Path) -> str:
    """Return the --data-root flag for a suggested command. Empty for the default data folder."""
    return "" if str(data_root) == "data" else f" --data-root {shlex.quote(str(data_root))}"


def suite(name: str) -> tuple[str, ...]:
    """Return the datasets of one suite ("mtil", "paint", "cases", "cil", "coop"), also shared ones, in the table's order."""
    return tuple(row.name for row in ENTRIES.values() if row.suite == name or name in row.also)


def summary() -> list[dict[str, Any]]:
    """Return the table as plain rows, for `list domains`."""
    keys = ("name", "suite", "about", "classes", "train", "val", "test", "licence", "get")
    return [{key: getattr(row, key) for key in keys} for row in ENTRIES.values()]


@cache
def lines(name: str) -> tuple[str, ...]:
    """Return the lines of a data file next to the table. Spaces are kept: one name has two in a row."""
    return tuple((HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def names(name: str) -> dict[str, str]:
    """Return the class names of a `names_*.txt` file in class order, by the class's name on disk."""
    return {line.split("\t")[0]: line.split("\t")[-1] for line in lines(f"names_{name}")}


@cache
def class_orders() -> dict[str, list[int]]:
    """Return the class orders of the class-incremental benchmarks: order[k] is the k-th class to arrive.

    CIFAR-100's order is a literal list (published with DER and DyTox). TinyImageNet's is range(200) shuffled by Python's
    `random` with seed 0. ImageNet-100's is range(100) shuffled by numpy's legacy generator with seed 1993,
    ImageNet's range(1000) alike.
    """
    orders: dict[str, list[int]] = json.loads((HERE / "class_orders.json").read_text(encoding="utf-8"))
    return orders


ENTRIES: dict[str, Entry] = load()
