"""The content of a layout: classes, numbers of images, and functions that draw and save one. Writers of other files."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""
SPLITS = ("train", "val", "test")


class Item(NamedTuple):
    """One image file that a layout wrote. The split is the published one, or "all" for a set without splits."""

    split: str
    key: str
    path: Path


class Shot(NamedTuple):
    """One image to write: its class, and its number among the images of the class."""

    key: str
    number: int


@dataclass(frozen=True)
class Content:
    """The content of one dataset.

    Attributes:
        classes: the classes by their names on disk, in the dataset's order.
        per_class: images per class of each published split, or of "all". Splits that are absent have no images.
        draw: returns the picture of (class, number). With a size it has that size.
        save: writes the picture of (class, number) to a path. The file name's ending is the format.
    """

    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    draw: Callable[[str, int, Size | None], Image.Image]
    save: Callable[[Path, str, int], None]

    def by_class(self, split: str) -> Iterator[Shot]:
        """Yield the images of a split, class by class. Numbers continue over the splits, so no picture is in two."""
        first = self._first(split)
        for key in self.classes:
            yield from (Shot(key, first + i) for i in range(self.per_class.get(split, 0)))

    def in_turn(self, split: str) -> Iterator[Shot]:
        """Yield the images of a split with the classes in turn."""
        first = self._first(split)
        for i in range(self.per_class.get(split, 0)):
            yield from (Shot(key, first + i) for key in self.classes)

    def arrays(self, split: str, size: Size, mode: str = "RGB") -> tuple[NDArray[np.uint8], list[str]]:
        """Return the pictures of a split as [N, H, W] or [N, H, W, 3], and the class of each, with the classes in turn."""
        shots = list(self.in_turn(split))
        images = [np.asarray(self.draw(shot.key, shot.number, size).convert(mode), dtype=np.uint8) for shot in shots]
        return np.stack(images), [shot.key for shot in shots]

    def _first(self, split: str) -> int:
        splits = list(self.per_class)
        return sum(self.per_class[each] for each in splits[: splits.index(split)]) if split in self.per_class else 0


def text(path: Path, lines: Iterable[str]) -> None:
    """Write a text file with one line per item."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def document(path: Path, content: Any) -> None:
    """Write a JSON file."""
    text(path, [json.dumps(content)])


def matlab(path: Path, content: dict[str, Any]) -> None:
    """Write a MATLAB file."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content)


def pickled(path: Path, content: dict[str, Any]) -> None:
    """Write a pickle, which is the format of CIFAR's files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=4))


def idx(path: Path, array: NDArray[Any]) -> None:
    """Write MNIST's format: two zero bytes, 8 for unsigned bytes, the number of dimensions, the dimensions, the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
