"""Pictures, lists and other files of made-up data."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

PER_CLASS = {"train": 3, "val": 2, "test": 2}


class Made(NamedTuple):
    classes: int
    sizes: dict[str, int]


def picture(label: int, number: int, side: int = 16, mode: str = "RGB") -> Image.Image:
    """Return a noisy square whose colour depends on the class."""
    rng = np.random.default_rng(1000 * label + number)
    colour = np.array([40 * label % 256, (90 + 60 * label) % 256, (200 - 50 * label) % 256])
    pixels = np.clip(colour + rng.integers(-20, 20, (side, side, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def save(path: Path, label: int, number: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(label, number, mode=mode).save(path)


def text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def pickled(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=4))


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())
