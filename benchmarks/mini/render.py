"""Drawing on a 48 x 48 canvas, with explicit random generators and no global state.

A picture is float32 [48, 48, 3] with values 0 to 255 until `finish` makes it uint8. A mask is uint8 [64, 64]. An alpha
is float32 [48, 48] with values 0 to 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

SIZE = 48
_OVERSAMPLING = 2

Colour = np.ndarray
Picture = np.ndarray
Range = tuple[float, float]


def generator(*names: str) -> np.random.Generator:
    """Return a random generator seeded by names, so that the order in which things are drawn does not matter."""
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])


def colour(rng: np.random.Generator, low: float = 0, high: float = 255) -> Colour:
    """Return a random colour whose channels are between `low` and `high`."""
    return rng.uniform(low, high, 3).astype(np.float32)


def luminance(c: Colour) -> float:
    """Return the luminance of a colour, 0 to 255."""
    return float(c @ np.array([0.299, 0.587, 0.114], dtype=np.float32))


def contrasting(rng: np.random.Generator, difference: float) -> tuple[Colour, Colour]:
    """Return two random colours whose luminance differs by at least `difference`."""
    while True:
        first, second = colour(rng), colour(rng)
        if abs(luminance(first) - luminance(second)) >= difference:
            return first, second


def flat(c: Colour) -> Picture:
    """Return a picture of one colour."""
    return np.broadcast_to(c, (SIZE, SIZE, 3)).astype(np.float32)


def gradient(rng: np.random.Generator, first: Colour, second: Colour) -> Picture:
    """Return a picture that changes from one colour to another in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1) - 0.5
    share = np.clip(0.5 + (x * np.cos(angle) + y * np.sin(angle)), 0, 1)[..., None].astype(np.float32)
    picture: Picture = first * (1 - share) + second * share
    return picture


def place(mask: np.ndarray, rng: np.random.Generator, scale: Range, turn: float, shift: float) -> np.ndarray:
    """Return a mask as an alpha, turned by up to `turn` degrees, `scale` of the canvas wide, moved by up to `shift` of it."""
    factor = rng.uniform(*scale) * SIZE / mask.shape[0] * _OVERSAMPLING
    angle = np.deg2rad(rng.uniform(-turn, turn))
    centre = SIZE * _OVERSAMPLING * (0.5 + rng.uniform(-shift, shift, 2))
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    half = mask.shape[0] / 2
    offsets = (half - cos * centre[0] - sin * centre[1], half + sin * centre[0] - cos * centre[1])
    side = SIZE * _OVERSAMPLING
    moved = Image.fromarray(mask).transform(
        (side, side),
        Image.Transform.AFFINE,
        (cos, sin, offsets[0], -sin, cos, offsets[1]),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved.reduce(_OVERSAMPLING), dtype=np.float32) / 255


def paint(picture: Picture, c: Colour, alpha: np.ndarray) -> Picture:
    """Return a picture with a colour laid over it through an alpha."""
    painted: Picture = picture * (1 - alpha[..., None]) + c * alpha[..., None]
    return painted


def outline(draw: Callable[[ImageDraw.ImageDraw, int], None]) -> np.ndarray:
    """Return as an alpha what draw(canvas, factor) paints in white; the canvas is `factor` times larger."""
    canvas = Image.new("L", (SIZE * _OVERSAMPLING, SIZE * _OVERSAMPLING))
    draw(ImageDraw.Draw(canvas), _OVERSAMPLING)
    return np.asarray(canvas.reduce(_OVERSAMPLING), dtype=np.float32) / 255


def polygon(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return a filled polygon as an alpha."""
    return outline(lambda canvas, k: canvas.polygon([(x * k, y * k) for x, y in points], fill=255))


def line(start: Sequence[float] | np.ndarray, end: Sequence[float] | np.ndarray, width: float) -> np.ndarray:
    """Return a straight line as an alpha."""
    ends = [(start[0] * _OVERSAMPLING, start[1] * _OVERSAMPLING), (end[0] * _OVERSAMPLING, end[1] * _OVERSAMPLING)]
    return outline(lambda canvas, k: canvas.line(ends, fill=255, width=max(1, round(width * k))))


def grain(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Return a picture with grey noise of a standard deviation of `strength`."""
    return picture + rng.normal(0, strength, (SIZE, SIZE, 1)).astype(np.float32)


def finish(picture: Picture) -> np.ndarray:
    """Return a picture as uint8 [3, 48, 48], the form of every image of the mini edition."""
    return np.ascontiguousarray(picture.clip(0, 255).astype(np.uint8).transpose(2, 0, 1))


def distinct(draw: Callable[[int], np.ndarray], count: int, seen: set[bytes]) -> list[np.ndarray]:
    """Return `count` pictures draw(0), draw(1), ... that are not in `seen`, and add them to it."""
    pictures: list[np.ndarray] = []
    for index in range(20 * count):
        if len(pictures) == count:
            return pictures
        picture = draw(index)
        key = picture.tobytes()
        if key not in seen:
            seen.add(key)
            pictures.append(picture)
    if len(pictures) == count:
        return pictures
    raise RuntimeError(f"only {len(pictures)} different pictures after {20 * count} tries")
