"""Pictures made from a class name: its hash chooses colours, a shape and a texture, and the image's number the rest.

A class looks the same in every dataset that has a class of its name. The pictures are easy to tell apart: they show whether
training works, and nothing about how hard the real data is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.rehearsal_data.content import Size

DRAWN_SIDE = 192
"""Pixels. Larger pictures are drawn at this size and enlarged, and get their noise at full size."""
GRAIN = 256


@dataclass(frozen=True)
class Look:
    """The look of a class.

    Attributes:
        colours: the background, its stripes, the shape and its centre [4, 3], 0 to 255.
        frequency: stripes over the picture.
        angle: the direction of the stripes, in radians.
        waves: the height of the waves in the stripes, 0 for straight ones.
        corners: lobes of the shape, 0 for a disc.
        depth: depth of the lobes, 0 to 1.
        radius: radius of the shape, as a fraction of the picture.
        hole: radius of the centre, as a fraction of the shape.
    """

    colours: NDArray[np.float32]
    frequency: float
    angle: float
    waves: float
    corners: int
    depth: float
    radius: float
    hole: float


def _generator(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@lru_cache(maxsize=4096)
def look(name: str, seed: int = 0) -> Look:
    """Return the look of a class. Case, underscores and spaces at the ends of its name do not count."""
    rng = _generator("look", seed, name.replace("_", " ").strip().lower())
    hues = (rng.random() + np.array([0.0, rng.uniform(0.1, 0.25), rng.uniform(0.35, 0.65), rng.uniform(0.7, 0.9)])) % 1
    lightness = rng.permutation([0.35, 0.55, 0.75, 0.95])
    waves = np.abs(np.mod(hues[:, None] * 6 + np.array([0.0, 4.0, 2.0]), 6) - 3) - 1
    colours = 255 * lightness[:, None] * (1 - rng.uniform(0.5, 0.95) * (1 - np.clip(waves, 0, 1)))
    return Look(
        colours.astype(np.float32),
        frequency=rng.uniform(2, 9),
        angle=rng.uniform(0, np.pi),
        waves=rng.choice([0.0, rng.uniform(0.05, 0.15)]),
        corners=int(rng.integers(0, 8)),
        depth=rng.uniform(0.15, 0.5),
        radius=rng.uniform(0.2, 0.38),
        hole=rng.uniform(0.2, 0.7),
    )


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (2 * GRAIN, 2 * GRAIN, 1)).astype(np.float32)


def variation(name: str, number: int) -> tuple[float, bool]:
    """Return the scale of a picture's size, 0.7 to 1.4, and whether it is upright (a quarter of all)."""
    rng = _generator("size", name, number)
    return float(2 ** rng.uniform(-0.5, 0.5)), bool(rng.random() < 0.25)


def draw(name: str, number: int, size: Size, seed: int = 0, noise: float = 6.0) -> Image.Image:
    """Return picture `number` of a class.

    Place, scale, rotation, brightness and noise differ between the pictures of a class.

    Args:
        name: the class name.
        number: the picture's number.
        size: width and height in pixels.
        seed: another seed gives every class another look.
        noise: standard deviation of the noise, of 255.
    """
    shown, rng = look(name, seed), _generator("picture", seed, name, number)
    scale = min(1.0, DRAWN_SIDE / max(size))
    width, height = (max(1, round(scale * side)) for side in size)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    longest = max(width, height)
    x, y = (x - width / 2) / longest - rng.uniform(-0.1, 0.1), (y - height / 2) / longest - rng.uniform(-0.1, 0.1)
    turn = rng.normal(0, 0.15)
    along = x * np.cos(shown.angle + turn) + y * np.sin(shown.angle + turn)
    across = y * np.cos(shown.angle + turn) - x * np.sin(shown.angle + turn)
    stripes = np.sin(2 * np.pi * (shown.frequency * (along + shown.waves * np.sin(12 * across)) + rng.random()))
    lobes = 1 + shown.depth * np.cos(shown.corners * (np.arctan2(y, x) + turn)) if shown.corners else 1.0
    distance = np.hypot(x, y) / (shown.radius * rng.uniform(0.85, 1.15) * lobes)
    region = (stripes < 0).astype(np.uint8)
    region[distance < 1] = 2
    region[distance < shown.hole] = 3
    palette = np.clip(shown.colours * rng.uniform(0.85, 1.15), 0, 255).astype(np.uint8)
    image = Image.fromarray(palette[region])
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return _noisy(image, noise, rng) if noise else image


def _noisy(image: Image.Image, noise: float, rng: np.random.Generator) -> Image.Image:
    """Add grey noise: a tile of fixed random numbers at a random place."""
    top, left = rng.integers(0, GRAIN, 2)
    tile = _grain()[top : top + GRAIN, left : left + GRAIN]
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    repeats = (-(-height // GRAIN), -(-width // GRAIN), 1)
    grain = np.tile(np.round(noise * tile).astype(np.int16), repeats)[:height, :width]
    return Image.fromarray(np.clip(pixels.astype(np.int16) + grain, 0, 255).astype(np.uint8))
