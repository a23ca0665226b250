"""The files of a dataset under the data folder, as `reads` in `table.toml` lists them. Imports neither torch nor numpy.

Readers, counts and data versions resolve paths here, so all of them see the same files. Patterns:

    path              a file
    path/             the images in a folder
    path/*/           the images in each of its subfolders ("**": in all folders below). Hidden folders do not count.
    path/{class}/     the images in the subfolders that are named after the entry's classes
    path/*.txt        the files in a folder whose names match
    {a,b}             both alternatives
    first|second      the first alternative that exists
    !NAME             folders of this name do not count
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from benchmarks.full.dataset_table import Entry


class DatasetFiles:
    """The listed files of one dataset.

    Args:
        row: the dataset's entry in the table.
        root: the data folder.

    Attributes:
        patterns: the patterns in the order of `reads`, each as its alternatives ("first|second" is two).
    """

    def __init__(self, row: Entry, root: Path):
        self.row, self.root = row, root
        self._excluded = {pattern[1:] for pattern in row.reads if pattern.startswith("!")}
        listed = [pattern for pattern in row.reads if not pattern.startswith("!")]
        self.patterns = [path.split("|") for pattern in listed for path in _expanded(pattern)]

    def path(self, name: str) -> Path:
        """Return the path of a listed file or folder, which may not exist. `name` is the end of its path.

        Raises:
            NotImplementedError: if `reads` does not list it, since the data version would not depend on it.
        """
        for alternatives in self.patterns:
            if any(f"/{_fixed_part(pattern)}".endswith(f"/{name}") for pattern in alternatives):
                return self.root / _fixed_part(self.existing(alternatives))
        raise NotImplementedError(f"`reads` of {self.row.name} in benchmarks/full/table.toml does not list {name}.")

    def classes(self, name: str) -> tuple[list[str], str]:
        """Return the class folders in a listed folder, sorted by name, and the subfolder of each that holds the images."""
        folder = self.path(name)
        patterns = [pattern for alternatives in self.patterns for pattern in alternatives]
        pattern = next(p for p in patterns if self.root / _fixed_part(p) == folder)
        wildcard, _, inner = pattern[len(_fixed_part(pattern)) + 1 :].partition("/")
        names = [key for key in subfolders(folder) if key not in self._excluded]
        return sorted(key for key in names if wildcard == "*" or key in self.row.fixed), inner.strip("/")

    def existing(self, alternatives: list[str]) -> str:
        """Return the first pattern with a match on disk, or the last one."""
        if len(alternatives) == 1:
            return alternatives[0]
        return next((pattern for pattern in alternatives if self.matches(pattern)), alternatives[-1])

    def matches(self, pattern: str) -> list[str]:
        """Return the existing file or folders of a pattern, relative to the data folder. Folders are sorted."""
        folder, _, last = pattern.rpartition("/")
        if last and "*" not in last:
            return [pattern] if (self.root / pattern).is_file() else []
        places = [""]
        for part in folder.split("/"):
            places = [match for place in places for match in self._step(place, part)]
        return sorted(place for place in places if os.path.isdir(self.root / place))

    def _step(self, place: str, part: str) -> Iterator[str]:
        """Yield the folders of one path component below a folder."""
        if part == "**":
            yield place
            for name in self._counted(place):
                yield from self._step(f"{place}/{name}", part)
        else:
            names = self._counted(place) if part == "*" else list(self.row.fixed) if part == "{class}" else [part]
            yield from (f"{place}/{name}" if place else name for name in names)

    def _counted(self, place: str) -> list[str]:
        return [name for name in subfolders(self.root / place) if name not in self._excluded]


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, without hidden ones. Empty if the folder does not exist."""
    try:
        with os.scandir(folder) as items:
            return [item.name for item in items if item.is_dir() and not item.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def file_names(folder: Path | str) -> list[str]:
    """Return the names of everything in a folder. Empty if the folder does not exist."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _fixed_part(pattern: str) -> str:
    """Return the path before the first wildcard."""
    return re.split(r"/(?:\*|\{class\})", pattern)[0].rstrip("/")


def _expanded(pattern: str) -> list[str]:
    """Expand braces: "a_{b,c}.txt" is "a_b.txt" and "a_c.txt"."""
    pieces = re.split(r"\{([^{}]*,[^{}]*)\}", pattern)
    alternatives = [piece.split(",") if index % 2 else [piece] for index, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*alternatives)]
