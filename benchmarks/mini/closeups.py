"""Crops of photographs and scans that ship inside scikit-image, scikit-learn and matplotlib, one picture a class.

Each picture is cut into a grid of cells; a seeded permutation gives every cell to one split, and a crop stays inside
its cell: no pixel is shared between splits. What is learned is the look of a surface, not a kind of object.
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
    package, path = FILES[classname]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the mini edition's closeups domain needs the package with the module {package!r}")
    picture = Image.open(Path(spec.origin).parent / path).convert("RGB")
    # The retina fills a quarter of its black frame's corners: the middle alone is tissue.
    if classname == "retina":
        margin = picture.width // 6
        picture = picture.crop((margin, margin, picture.width - margin, picture.height - margin))
    return picture


def cells(classname: str, split: str) -> list[tuple[int, int]]:
    """The grid cells (column, row) of a photograph that belong to a split."""
    order = generator("closeups", "cells", classname).permutation(GRID * GRID)
    start = 0
    for name, count in SHARES.items():
        if name == split:
            return [(int(c) % GRID, int(c) // GRID) for c in order[start : start + count]]
        start += count
    raise KeyError(split)


def crop(classname: str, cell: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A square of 60 to 100 % of a cell, mirrored half of the time, with a little exposure jitter."""
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
    pictures = []
    for classname in PHOTOGRAPHS:
        rng = generator(domain, split, classname)
        own = cells(classname, split)

        def one(index: int, rng=rng, own=own, classname=classname) -> np.ndarray:
            return crop(classname, own[index % len(own)], rng)

        pictures.append(render.distinct(one, per_class, seen))
    return pictures
