"""Pictures of made-up data, and what a writer returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tools.rehearsal_data.content import Content


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


def content(classes: Sequence[str], per_class: Mapping[str, int], grey: Sequence[str] = ()) -> Content:
    """Return content of these classes, with grey pictures of some of them."""
    label_of = {key: label for label, key in enumerate(classes)}
    return Content(
        tuple(classes),
        per_class,
        lambda key, number, size: picture(label_of[key], number, 16 if size is None else size[0]),
        lambda path, key, number: save(path, label_of[key], number, "L" if key in grey else "RGB"),
    )
