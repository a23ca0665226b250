"""Which data of a dataset lies on disk, as a digest of what its reader reads and of nothing beside it. Needs no torch.

An entry's `reads` are paths under the data folder. A file stands for its text, or for its size where it is large. A path that
ends in "/" is a folder of images, with "*" for every folder of a level (hidden ones left out), "**" for all folders below, and
"{class}" for those called as the entry's classes; "!NAME" leaves folders of that name out. Of a folder the names of its images
count, and the sizes of sixteen of them: one `scandir` a folder and some 30,000 single sizes for ImageNet's 1.3 million images.
An image that is replaced by another one of the same name may not be seen. "{a,b}" stands for both, "|" for the first that is
there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from itertools import product
from pathlib import Path

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_table import Entry

TEXT = 4 * 2**20
"""Bytes; larger files are archives of images, not lists."""
SAMPLE = 16
EMPTY = "/ 0"


def version(row: Entry, root: Path) -> str:
    """12 hexadecimal digits. Of torchvision's layout where all of it is there, else of what is there of it and of the hub copy,
    since either may be read. Where the data folder lies does not matter.
    """
    lines, whole = _of_files(row, root)
    copy = root / "hub" / row.name
    if row.hub is not None and not whole and copy.is_dir():
        lines += ["hub copy", *_of_copy(row, copy)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _of_files(row: Entry, root: Path) -> tuple[list[str], bool]:
    """A line a file and folder, and whether nothing that is read is lacking."""
    skip = {item[1:] for item in row.reads if item.startswith("!")}
    lines: list[str] = []
    whole = True
    for item in row.reads:
        if not item.startswith("!"):
            for path in _spelt_out(item):
                found = next((said for choice in path.split("|") if (said := _lines(row, root, choice, skip))), [])
                whole = whole and any(not line.endswith(EMPTY) for line in found)
                lines += found
    return lines, whole


def _lines(row: Entry, root: Path, path: str, skip: set[str]) -> list[str]:
    """What is there of one path; nothing for what is lacking."""
    if path.endswith("/"):
        folders = _folders(row, root, path.rstrip("/").split("/"), skip)
        said = [_folder(root / place, place, is_image) for place in folders]
        if "**" in path:  # what lies between is no class
            said = [line for line in said if not line.endswith(EMPTY)]
    elif "*" in path:
        place, pattern = path.rsplit("/", 1)
        said = [_folder(root / place, place, lambda name: fnmatch(name, pattern))]
    else:
        said = [_file(root / path, path)]
    return [line for line in said if line]


def _folders(row: Entry, root: Path, parts: list[str], skip: set[str]) -> list[str]:
    """The folders that a path stands for, relative to the data folder, sorted."""
    places = [""]
    for part in parts:
        found = []
        for place in places:
            if part == "**":
                found += [place, *_below(root, place, skip)]
            elif part == "*":
                found += [_join(place, name) for name in _inner(root / place) if name not in skip]
            elif part == "{class}":
                found += [_join(place, name) for name in row.fixed]
            else:
                found.append(_join(place, part))
        places = found
    return sorted(places)


def _below(root: Path, place: str, skip: set[str]) -> Iterator[str]:
    for name in _inner(root / place):
        if name not in skip:
            yield _join(place, name)
            yield from _below(root, _join(place, name), skip)


def _inner(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as items:
            return [item.name for item in items if item.is_dir() and not item.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folder(folder: Path, place: str, counts: Callable[[str], bool]) -> str:
    """Nothing for a folder that is not there. An empty one is said: it may be a class."""
    try:
        names = sorted(name for name in os.listdir(folder) if counts(name))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if not names:
        return place + EMPTY
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    step = -(-len(names) // SAMPLE)
    sizes = [_size(folder / name) for name in names[::step]]
    return f"{place}/ {len(names)} {digest} {sizes}"


def _file(path: Path, place: str) -> str:
    size = _size(path)
    if size < 0 or path.is_dir():
        return ""
    return f"{place} {size if size > TEXT else hashlib.sha256(path.read_bytes()).hexdigest()}"


def _of_copy(row: Entry, folder: Path) -> list[str]:
    """The files of a hub copy; of one that `save_to_disk` wrote, only those of the splits that are used."""
    used = {name for names in row.hub.splits.values() for name in names} if row.hub is not None else set()
    saved = (folder / "dataset_dict.json").is_file()
    lines = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        clutter = any(part.startswith(".") for part in parts) or re.fullmatch(r"cache-.*\.arrow", path.name)
        if path.is_file() and not clutter and not (saved and len(parts) > 1 and parts[0] not in used):
            lines.append(_file(path, "/".join(parts)))
    return lines


def _spelt_out(path: str) -> list[str]:
    """ "a_{b,c}.txt" as "a_b.txt" and "a_c.txt"."""
    pieces = re.split(r"\{([^{}]*,[^{}]*)\}", path)
    choices = [piece.split(",") if place % 2 else [piece] for place, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
