"""The full edition's domains: the datasets of the papers, read from a data folder.

The table (`benchmarks.full.dataset_table`) says what they are; nothing heavy is imported before a domain is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.full.dataset_table import ENTRIES, SPLITS, Entry, Missing, entry, summary

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

__all__ = ["ENTRIES", "Entry", "Missing", "build", "differences", "entry", "folders", "summary", "version"]


def build(
    name: str,
    data_root: str | Path = "data",
    splits: Sequence[str] = SPLITS,
    progress: Callable[[int, int, str], None] | None = None,
) -> Domain:
    """One of the table's datasets as a domain.

    A split that was not asked for, or that the set does not have, is None, and nothing of it is read: evaluation needs no
    training data on disk. Four sets come whole and are split here by a seed (MTIL's Caltech101, EuroSAT and SUN397, PAINT's
    eurosat): of those every file must be listed to know which ones are the test set, but none is opened.

    torchvision's layout under `data_root` comes first; where it is missing, or a file or all images of a split are, a hub
    copy in <data_root>/hub/NAME. What is incomplete is built all the same; `differences` says what differs from the paper.
    `progress(done, total, what)` is called as it goes.

    Raises Missing, a UserError, for data that is not there (with how to get it), and UserError for an unknown name and
    files that cannot be read.
    """
    from benchmarks.full import assemble

    return assemble.build(name, data_root, splits, progress)


def differences(domain: Domain, row: Entry | None = None) -> list[str]:
    """Sentences on where the data found differs from the paper's: classes, images per split, classes without images, and
    what a hub copy changes. Empty for the paper's own data. Splits that were not read are not compared.
    """
    from benchmarks.full import assemble

    return assemble.differences(domain, row or entry(domain.name))


def version(name: str, data_root: str | Path = "data") -> str:
    """12 hexadecimal digits that say which data `build` would find, for the key of a run: see `benchmarks.full.fingerprint`.
    Needs no torch; seconds for ImageNet.
    """
    from benchmarks.full import fingerprint as contents

    return contents.version(entry(name), Path(data_root))


def folders(name: str, data_root: str | Path = "data") -> tuple[Path, ...]:
    """The folders that `build` may read and that are there: torchvision's layout and the hub copy."""
    row, root = entry(name), Path(data_root)
    places = [*(root / folder for folder in row.folder), *([root / "hub" / name] if row.hub is not None else [])]
    return tuple(place for place in places if place.exists())
