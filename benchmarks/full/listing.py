"""Listings: the images of one split and the class of each, as a reader finds them. Imports no torch and opens no image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_files import DatasetFiles, file_names
from benchmarks.full.dataset_table import Missing
from models.registry import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ArrayFiles(NamedTuple):
    """Images stored in array files. `load` reads them as uint8 [N, H, W] or [N, H, W, 3]."""

    paths: tuple[Path, ...]
    load: Callable[[], NDArray[np.uint8]]


class Listing(NamedTuple):
    """One split.

    Attributes:
        keys: all classes that the data names, in its order. A key is the class's name on disk.
        labels: the key of each image's class [N].
        files: the image files [N]. Empty if the images are in arrays.
        arrays: the array files that hold the N images, or None.
    """

    keys: tuple[str, ...]
    labels: list[str]
    files: list[str] = []
    arrays: ArrayFiles | None = None


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Parse a file in the block. Missing files raise Missing, all other errors a UserError that names the file."""
    try:
        yield path
    except UserError:
        raise
    except FileNotFoundError as error:
        raise Missing(f"{error.filename or path} is missing.") from error
    except Exception as error:  # damaged files raise exceptions of every kind, also scipy's own
        raise UserError(f"Cannot read {path}: it is damaged or incomplete ({type(error).__name__}: {error}).") from error


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file, stripped, without blank ones."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def class_folders(files: DatasetFiles, name: str) -> Listing:
    """List folders of images, one per class, both sorted by name as torchvision's ImageFolder does.

    Hidden files and files that are not images are left out.

    Raises:
        Missing: for a folder that does not exist or has no class folders.
    """
    folder = _folder(files, name)
    keys, inner = files.classes(name)
    if not keys:
        raise Missing(f"{folder} has no class folders.")
    images: list[str] = []
    labels: list[str] = []
    for key in keys:
        base = folder / key / inner
        names = sorted(filter(is_image, file_names(base)))
        images += [f"{base}{os.sep}{name}" for name in names]
        labels += [key] * len(names)
    return Listing(tuple(keys), labels, images)


def listed_files(files: DatasetFiles, name: str, keys: Sequence[str], rows: Iterable[tuple[str, str]]) -> Listing:
    """List the files of a folder that a list names, in the list's order.

    Files that do not exist are left out: a partial copy can be used, and its counts differ from the paper's.

    Args:
        files: the dataset's files.
        name: the folder.
        keys: the classes in order.
        rows: path of an image below the folder, and the key of its class.

    Raises:
        Missing: for a folder that does not exist.
        ValueError: for a key that is not in `keys`. `reading` adds the name of the list.
    """
    base, rows = _folder(files, name), list(rows)
    if unknown := sorted({key for _, key in rows} - set(keys)):
        raise ValueError(f"classes that are not in the class list: {', '.join(unknown[:5])}")
    present: dict[str, set[str]] = {}
    images, labels = [], []
    for file, key in rows:
        folder, image = os.path.split(f"{base}{os.sep}{file}")
        if folder not in present:
            present[folder] = set(file_names(folder))
        if image in present[folder]:
            images.append(f"{folder}{os.sep}{image}")
            labels.append(key)
    return Listing(tuple(keys), labels, images)


def check_numbers(numbers: Sequence[int], keys: Sequence[str], path: Path) -> None:
    """Raise UserError if a file has class numbers outside 0..C-1."""
    if wrong := sorted({number for number in numbers if not 0 <= number < len(keys)}):
        raise UserError(f"{path} has labels outside its {len(keys)} classes: {', '.join(map(str, wrong[:5]))}.")


def union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return one class order for several splits: the first list with every class, or all classes sorted."""
    every = {key for keys in lists for key in keys}
    return tuple(next((keys for keys in lists if len(keys) == len(every)), sorted(every)))


def _folder(files: DatasetFiles, name: str) -> Path:
    folder = files.path(name)
    if not folder.is_dir():
        raise Missing(f"{folder} is missing.")
    return folder
