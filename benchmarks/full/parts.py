"""What the readers hand over: one split as images with the key of each one's class, as it stands on disk."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_table import Missing
from models.registry import UserError


class Part(NamedTuple):
    """One split. `keys` are all classes that the data names, in its order; `labels` [N] the key of each image's class.

    `images` is a list of N files, or one array (uint8 [N, H, W] or [N, H, W, 3]) whose files `source` names.
    """

    keys: tuple[str, ...]
    images: Sequence[str | Path] | np.ndarray
    labels: Sequence[str]
    source: str = ""

    def take(self, indices: Sequence[int]) -> Part:
        """The files of these indices, in this order."""
        return self._replace(images=[self.images[i] for i in indices], labels=[self.labels[i] for i in indices])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is parsed into a UserError that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise Missing(f"The file {error.filename or path} is missing.") from error
    except Exception as error:  # damaged files end in every kind of exception, scipy's own among them
        raise UserError(f"Cannot read {path}: it is damaged or incomplete ({type(error).__name__}: {error}).") from error


def needed(*paths: Path) -> None:
    """Raises Missing for the first file or folder that is not there: torchvision's classes do not say which one it is."""
    for path in paths:
        if not path.exists():
            raise Missing(f"The file or folder {path} is missing.")


def class_tree(folder: Path, only: Collection[str] | None = None, skip: Collection[str] = (), inner: str = "") -> Part:
    """Class folders with image files, both sorted by name (as torchvision's ImageFolder does): folder/CLASS/inner/*.

    `only` limits the classes, `skip` leaves some out. Hidden files and other files are no images. Raises Missing for a folder
    that is not there or has no class folders.
    """
    if not folder.is_dir():
        raise Missing(f"The folder {folder} is missing.")
    with os.scandir(folder) as items:
        found = sorted(item.name for item in items if item.is_dir() and not item.name.startswith("."))
    keys = tuple(name for name in found if name not in skip and (only is None or name in only))
    if not keys:
        raise Missing(f"The folder {folder} holds no class folders.")
    images: list[str | Path] = []
    labels: list[str] = []
    for key in keys:
        base = folder / key / inner
        names = sorted(filter(is_image, _files(base)))
        images += [f"{base}{os.sep}{name}" for name in names]  # strings: ImageNet has 1.3 million
        labels += [key] * len(names)
    return Part(keys, images, labels)


def listed(keys: Sequence[str], images: Sequence[Path], labels: Sequence[str]) -> Part:
    """The part of a list of files that is really there; a partial copy still runs, and its counts say so."""
    there: dict[Path, set[str]] = {}
    kept = []
    for index, path in enumerate(images):
        if path.parent not in there:
            there[path.parent] = set(_files(path.parent))
        if path.name in there[path.parent]:
            kept.append(index)
    return Part(tuple(keys), [images[i] for i in kept], [labels[i] for i in kept])


def joined(first: Part, second: Part) -> Part:
    """Two parts of files as one, the first one's images first."""
    keys = union([first.keys, second.keys])
    return Part(keys, [*first.images, *second.images], [*first.labels, *second.labels])


def union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One class order for several splits: that of the list which has every class, else all of them sorted."""
    every = {key for keys in lists for key in keys}
    whole = [keys for keys in lists if len(keys) == len(every)]
    return tuple(whole[0]) if whole else tuple(sorted(every))


def _files(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
