"""The datasets of the papers' benchmarks as a table: sizes, templates, licences, where the files lie and how to get them.

`table.toml` is the one source of truth; the long lists stand beside it: class names (`names_*.txt`, one class a line in
class order, "key<TAB>name" where a folder or code stands for the class on disk), ImageNet's templates and the class
orders of the class-incremental benchmarks. Needs neither torch nor numpy, so listing the table is quick.
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
    """A dataset, or a file or folder of it, is not there."""


@dataclass(frozen=True)
class Hub:
    """A copy of a dataset on the Hugging Face hub.

    `id` and `config` name it; `image` and `label` are its columns; `splits` says which of its splits, in which order,
    make ours: {"test": ("validation",)}, or {"all": (...)} where the benchmark splits the whole set itself.
    """

    id: str
    config: str | None = None
    image: str = "image"
    label: str = "label"
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"train": ("train",), "test": ("test",)})


@dataclass(frozen=True)
class Entry:
    """One dataset of the benchmarks.

    `classes`, `train`, `val` and `test` are the paper's numbers of classes and images (None: not stated, or no such
    split); `names` is the data file of its class names where the benchmark fixes them, None where the data says them; `lr` is
    MTIL's learning rate for it. `folder` holds the paths under the data root that must be there, in the
    layout that torchvision writes; `reads` what is read there, for the version of the data (see `benchmarks.full.fingerprint`);
    `root` is what torchvision's class gets as its own root, relative to the data root; `torchvision` names that class. `get`
    says in a sentence or two how to get the data.

    Optional: `cut` gives the seeded split of a set that comes whole, the fractions of train and, for some, val; `also` are
    other suites that use it; `consent` says that each person asks the authors for access, so it is never fetched unasked.
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
        """Images per split; None where the split does not exist or its size is not stated."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def fixed(self) -> dict[str, str]:
        """Class names by what stands for the class on disk, in class order; empty where the data says them."""
        return dict(islice(names(self.names).items(), self.classes)) if self.names else {}


def load() -> dict[str, Entry]:
    """The table, read from `table.toml`, in the file's order."""
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
    """The entry of that name. Raises UserError for an unknown one."""
    if name not in ENTRIES:
        raise unknown("dataset", name, ENTRIES)
    return ENTRIES[name]


def root_flag(data_root: str | Path) -> str:
    """What commands that are suggested need beside a name; nothing for the default data folder."""
    return "" if str(data_root) == "data" else f" --data-root {shlex.quote(str(data_root))}"


def suite(name: str) -> tuple[str, ...]:
    """The names of one suite ("mtil", "paint", "cil"), in the table's order; those that it shares with another among them."""
    return tuple(row.name for row in ENTRIES.values() if row.suite == name or name in row.also)


def summary() -> list[dict[str, Any]]:
    """The table as plain rows, for `list domains`."""
    keys = ("name", "suite", "about", "classes", "train", "val", "test", "licence", "get")
    return [{key: getattr(row, key) for key in keys} for row in ENTRIES.values()]


@cache
def lines(name: str) -> tuple[str, ...]:
    """The lines of a data file beside the table, spaces kept (one name has two in a row)."""
    return tuple((HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def names(name: str) -> dict[str, str]:
    """Class names of a `names_*.txt` file in class order, by what stands for the class on disk (the name where nothing
    else does).
    """
    return {line.split("\t")[0]: line.split("\t")[-1] for line in lines(f"names_{name}")}


@cache
def class_orders() -> dict[str, list[int]]:
    """The class orders of the class-incremental benchmarks: order[k] is the class that comes k-th.

    CIFAR-100's is a literal list (published with DER and DyTox); TinyImageNet's is Python's `random` with seed 0 shuffling
    range(200); ImageNet-100's is numpy's legacy generator with seed 1993 shuffling range(100).
    """
    return json.loads((HERE / "class_orders.json").read_text(encoding="utf-8"))


ENTRIES: dict[str, Entry] = load()
