"""Domains of the full edition: the papers' datasets, read from a data folder.

`benchmarks.full.dataset_table` describes them. Torch is imported only when a domain is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data.progress import Progress
from benchmarks.full.dataset_table import ENTRIES, SPLITS, Entry, Missing, entry, summary

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

__all__ = ["ENTRIES", "Entry", "Missing", "build", "differences", "entry", "folders", "summary", "version"]


def build(
    name: str, data_root: str | Path = "data", splits: Sequence[str] = SPLITS, progress: Progress | None = None
) -> Domain:
    """Build one of the table's datasets as a domain.

    torchvision's layout under `data_root` is read. If it is missing, or lacks a file or all images of a split, a hub copy in
    <data_root>/hub/NAME is read instead. Incomplete data is built too: `differences` describes it.

    Four sets are split here by a seed (MTIL's Caltech101, EuroSAT and SUN397, PAINT's eurosat). All their files are listed to
    find the test set, but none is opened.

    Args:
        name: a name of the table.
        data_root: the data folder.
        splits: splits to read. The others are None, and none of their files is read: evaluation needs no training data.
        progress: called as progress(done, total, what).

    Raises:
        Missing: for data that is missing (a UserError). The message says how to get it.
        UserError: for an unknown name and for files that cannot be read.
    """
    from benchmarks.full import assemble

    return assemble.build(name, data_root, splits, progress)


def differences(domain: Domain, row: Entry | None = None) -> list[str]:
    """Return sentences on how a domain differs from the paper's data.

    They cover the number of classes, images per split, classes without images, and the effects of a hub copy. Splits that
    were not read are not compared.
    """
    from benchmarks.full import assemble

    return assemble.differences(domain, row or entry(domain.name))


def version(name: str, data_root: str | Path = "data") -> str:
    """Return 12 hexadecimal digits that identify the data that `build` would read, for the key of a run.

    See `benchmarks.full.fingerprint`. It imports no torch and takes seconds for ImageNet.
    """
    from benchmarks.full import fingerprint

    return fingerprint.version(entry(name), Path(data_root))


def folders(name: str, data_root: str | Path = "data") -> tuple[Path, ...]:
    """Return the existing folders that `build` may read: those of torchvision's layout and the hub copy."""
    row, root = entry(name), Path(data_root)
    places = [*(root / folder for folder in row.folder), *([root / "hub" / name] if row.hub is not None else [])]
    return tuple(place for place in places if place.exists())
