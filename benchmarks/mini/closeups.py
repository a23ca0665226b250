"""Crops of photographs and scans that ship with scikit-image, scikit-learn and matplotlib, one picture per class.

Each picture is cut into a grid of cells. A seeded permutation assigns every cell to one split, and a crop stays inside
its cell, so no pixel is shared between splits. The task is to recognise surfaces, not kinds of objects.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mini import render
from benchmarks.mini.domain_table import PHOTOGRAPHS
from benchmarks.mini.render import SIZE, generator

FILES: dict[str, tuple[str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "brick wall": ("skimage", "data/brick.png"),
    "cameraman": ("skimage", "data/camera.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "cells": ("skimage", "data/cell.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "galaxies": ("skimage", "data/hubble_deep_field.jpg"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "moon": ("skimage", "data/moon.png"),
    "officer": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "tissue": ("skimage", "data/ihc.png"),
}
GRID = 5
SHARES = {"train": 12, "val": 5, "test": 8}


@cache
def photograph(classname: str) -> Image.Image:
    """Return the photograph of a class. Raises ModuleNotFoundError if its package is not installed."""
    package, path = FILES[classname]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the domain closeups of the mini edition needs the package with the module {package!r}")
    picture = Image.open(Path(spec.origin).parent / path).convert("RGB")
    # The corners of the retina picture are a black frame; only the middle is tissue.
    if classname == "retina":
        margin = picture.width // 6
        picture = picture.crop((margin, margin, picture.width - margin, picture.height - margin))
    return picture


def cells(classname: str, split: str) -> list[tuple[int, int]]:
    """Return the grid cells (column, row) of a photograph that belong to a split."""
    order = generator("closeups", "cells", classname).permutation(GRID * GRID)
    start = 0
    for name, count in SHARES.items():
        if name == split:
            return [(int(c) % GRID, int(c) // GRID) for c in order[start : start + count]]
        start += count
    raise KeyError(split)


def crop(classname: str, cell: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a square of 60 to 100 % of a cell, mirrored half of the time, with a little exposure jitter."""
    picture = photograph(classname)
    width, height = picture.width / GRID, picture.height / GRID
    side = rng.uniform(0.6, 1.0) * min(width, height)
    left = cell[0] * width + rng.uniform(0, width - side)
    top = cell[1] * height + rng.uniform(0, height - side)
    box = (int(np.ceil(left)), int(np.ceil(top)), int(left + side), int(top + side))
    pixels = np.asarray(picture.crop(box).resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    return render.finish((pixels - 128) * rng.uniform(0.8, 1.2) + 128 + rng.uniform(-25, 25))


def images(domain: str, split: str, per_class: int, seen: set[bytes]) -> list[list[np.ndarray]]:
    """Draw one split: `per_class` pictures uint8 [3, 48, 48] for each class, none of which is in `seen`."""
    return [_class_images(domain, split, classname, per_class, seen) for classname in PHOTOGRAPHS]


def _class_images(domain: str, split: str, classname: str, count: int, seen: set[bytes]) -> list[np.ndarray]:
    rng = generator(domain, split, classname)
    split_cells = cells(classname, split)
    return render.distinct(lambda index: crop(classname, split_cells[index % len(split_cells)], rng), count, seen)
