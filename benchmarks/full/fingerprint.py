"""Data versions: a digest of the files that a dataset's reader opens, and of no other files. Imports neither torch nor numpy.

The files are those of `benchmarks.full.dataset_files`. A file counts by its text, or by its size above 4 MiB. A folder counts
by the names of its images and by the sizes of sixteen of them: one `scandir` per folder and about 30,000 `stat` calls for
ImageNet's 1.3 million images. An image that is replaced by another one of the same name may go unnoticed.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_files import DatasetFiles, file_names
from benchmarks.full.dataset_table import Entry

TEXT_LIMIT = 4 * 2**20
"""Bytes. Larger files are archives of images, not lists."""
SAMPLE = 16
_EMPTY = "/ 0"


def version(row: Entry, root: Path) -> str:
    """Return 12 hexadecimal digits that identify the data of an entry under the data folder.

    If torchvision's layout is complete, only that is digested. Otherwise the hub copy is digested too, since either may be
    read. The location of the data folder does not matter.
    """
    lines, complete = _layout_lines(row, root)
    copy = root / "hub" / row.name
    if row.hub is not None and not complete and copy.is_dir():
        lines += ["hub copy", *_copy_lines(row, copy)]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _layout_lines(row: Entry, root: Path) -> tuple[list[str], bool]:
    """Return one line per file and folder, and whether every pattern has a file or image."""
    files = DatasetFiles(row, root)
    lines: list[str] = []
    complete = True
    for alternatives in files.patterns:
        pattern = files.existing(alternatives)
        wanted = pattern.rpartition("/")[2]
        if wanted and "*" not in wanted:
            described = [_file_line(root / path, path) for path in files.matches(pattern)]
        else:
            described = [_folder_line(root / place, place, wanted) for place in files.matches(pattern)]
        if "**" in pattern:  # the folders between the root and the classes
            described = [line for line in described if not line.endswith(_EMPTY)]
        complete = complete and any(not line.endswith(_EMPTY) for line in described)
        lines += described
    return lines, complete


def _folder_line(folder: Path, place: str, wanted: str) -> str:
    """Describe the images of a folder, or the files that match `wanted`. An empty folder has a line: it may be a class."""
    names = sorted(name for name in file_names(folder) if (fnmatch(name, wanted) if wanted else is_image(name)))
    if not names:
        return place + _EMPTY
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    step = -(-len(names) // SAMPLE)
    return f"{place}/ {len(names)} {digest} {[_size(folder / name) for name in names[::step]]}"


def _file_line(path: Path, place: str) -> str:
    size = _size(path)
    return f"{place} {size if size > TEXT_LIMIT else hashlib.sha256(path.read_bytes()).hexdigest()}"


def _copy_lines(row: Entry, folder: Path) -> list[str]:
    """Describe the files of a hub copy. Of a copy that `save_to_disk` wrote, only the splits that are read count."""
    read = {name for names in row.hub.splits.values() for name in names} if row.hub is not None else set()
    saved = (folder / "dataset_dict.json").is_file()
    lines = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        clutter = any(part.startswith(".") for part in parts) or re.fullmatch(r"cache-.*\.arrow", path.name)
        if path.is_file() and not clutter and not (saved and len(parts) > 1 and parts[0] not in read):
            lines.append(_file_line(path, "/".join(parts)))
    return lines


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
