"""Tasks about surfaces: regular textures, and the colours of things."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from benchmarks.broad.things import icon_alpha
from benchmarks.mini import render
from benchmarks.mini.render import SIZE, Colour

Field = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""A texture: the share of the second colour at coordinates x and y, whose unit is the period of the pattern."""

HUES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "blue": ((205, 240), (0.65, 1), (0.5, 0.95)),
    "green": ((95, 150), (0.5, 1), (0.4, 0.8)),
    "red": ((-10, 8), (0.75, 1), (0.65, 0.95)),
    "black": ((0, 360), (0, 0.3), (0, 0.12)),
    "white": ((0, 360), (0, 0.04), (0.94, 1)),
    "grey": ((0, 360), (0, 0.06), (0.4, 0.65)),
    "yellow": ((50, 60), (0.7, 1), (0.85, 1)),
    "orange": ((22, 36), (0.8, 1), (0.88, 1)),
    "brown": ((15, 32), (0.55, 0.85), (0.3, 0.5)),
    "purple": ((265, 290), (0.5, 0.9), (0.4, 0.75)),
    "pink": ((325, 345), (0.3, 0.6), (0.9, 1)),
}
"""Hue in degrees, saturation and value of each colour, in the order of the classes of `colours`."""


def named_colour(name: str, rng: np.random.Generator) -> Colour:
    """Return a random colour of a name in `HUES`."""
    hue, saturation, value = (rng.uniform(*limits) for limits in HUES[name])
    return 255 * np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), dtype=np.float32)


def coloured(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw an icon of a named colour on a pale, grey or dark ground. Other style: a soft round blot."""
    ink = named_colour(list(HUES)[label], rng)
    while True:
        value, saturation = rng.uniform(0.05, 1), rng.uniform(0, 0.2)
        ground = 255 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, value), dtype=np.float32)
        if np.abs(ground - ink).max() > 70:
            break
    x, y = 24 + rng.uniform(-5, 5, 2)
    radius = rng.uniform(13, 19)
    if other_style:
        rows, columns = np.mgrid[0:SIZE, 0:SIZE]
        distance = np.hypot(columns - x, (rows - y) * rng.uniform(0.7, 1.4)) / radius
        alpha = 1 / (1 + np.exp(8 * (distance - 0.8)))
    else:
        alpha = icon_alpha(rng, x, y, radius)
    return render.finish(render.grain(render.paint(render.flat(ground), ink, alpha), rng, 7))


def texture(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a regular texture in two colours. Other style: larger, and lit from one side."""
    first, second = render.contrasting(rng, 60)
    period = rng.uniform(13, 18) if other_style else rng.uniform(7, 12)
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    if list(TEXTURES)[label] in _CENTRED:
        x, y = x - SIZE * rng.uniform(0.3, 0.7), y - SIZE * rng.uniform(0.3, 0.7)
    else:
        x, y = x + rng.uniform(0, 20), y + rng.uniform(0, 20)
    share = list(TEXTURES.values())[label](x / period, y / period, rng)
    # Edges are as soft as one pixel.
    picture = render.paint(render.flat(first), second, share.clip(0, 1).astype(np.float32))
    if other_style:
        light = render.gradient(rng, np.full(3, 0.45, np.float32), np.full(3, 1.15, np.float32))
        picture = picture * light
    return render.finish(render.grain(picture, rng, 10))


def _edge(distance: np.ndarray, softness: float = 0.12) -> np.ndarray:
    """Return 1 where a signed distance is positive and 0 where it is negative, with a soft edge."""
    return 0.5 + distance / softness


def _wave(x: np.ndarray) -> np.ndarray:
    """Return the distance to the next whole number, 0 to 0.5."""
    wave: np.ndarray = np.abs(x - np.round(x))
    return wave


def _stripes(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, angle: float) -> np.ndarray:
    angle += rng.uniform(-0.09, 0.09)
    return _edge(_wave(x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(0.18, 0.32))


def _horizontal(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _stripes(x, y, rng, np.pi / 2)


def _vertical(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _stripes(x, y, rng, 0.0)


def _diagonal(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _stripes(x, y, rng, np.pi / 4 * rng.choice([-1, 1]))


def _checks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _edge(8 * (_wave(x) - 0.25) * (_wave(y) - 0.25), 0.3)


def _dots(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shifted = x + 0.5 * (np.floor(y + 0.5) % 2)
    return _edge(rng.uniform(0.22, 0.36) - np.hypot(_wave(shifted), _wave(y)))


def _bricks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    row = np.floor(1.6 * y)
    joint = np.minimum(_wave(1.6 * y) / 1.6, _wave(0.8 * x + 0.5 * (row % 2)) / 0.8)
    return _edge(joint - rng.uniform(0.06, 0.1))


def _zigzags(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _edge(_wave(y + rng.uniform(0.9, 1.5) * _wave(x)) - 0.25)


def _waves(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _edge(_wave(y + rng.uniform(0.25, 0.45) * np.sin(np.pi * x)) - 0.25)


def _grid(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _edge(rng.uniform(0.07, 0.13) - np.minimum(_wave(x), _wave(y)))


def _rings(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _edge(_wave(np.hypot(x, y) + rng.random()) - 0.25)


def _rays(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turns = np.arctan2(y, x) / (2 * np.pi) * int(rng.integers(7, 15)) + rng.random()
    return _edge(_wave(turns) - 0.25, 0.2)


def _noise(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    block = int(rng.integers(1, 4))
    coarse = rng.random((SIZE // block + 1, SIZE // block + 1))
    return np.kron(coarse, np.ones((block, block)))[:SIZE, :SIZE]


def _clouds(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    total = np.zeros_like(x)
    for octave in range(1, 4):
        for _ in range(3):
            angle, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
            total += np.sin(1.4 * octave * (x * np.cos(angle) + y * np.sin(angle)) + phase) / octave
    return 0.5 + total / 5


def _scales(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    share = np.zeros_like(x)
    # Rows of discs from the bottom upwards; each covers the row below it.
    top, bottom = int(np.floor(y.min() * 2)) - 2, int(np.ceil(y.max() * 2)) + 1
    width = rng.uniform(0.08, 0.13)
    for row in range(bottom, top, -1):
        distance = np.hypot(_wave(x + 0.5 * (row % 2)), y - row / 2)
        share = np.where(distance < 0.56, _edge(distance - 0.56 + width), share)
    return share


def _honeycomb(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # The distance to the edge of the hexagon around the nearest of the centres of a triangular lattice.
    height = np.sqrt(3)
    nearest = np.full((2, *x.shape), np.inf)
    for shift in (0.0, 0.5):
        column, row = np.round(x - shift) + shift, height * (np.round(y / height - shift) + shift)
        for dx, dy in ((0, 0), (1, 0), (-1, 0)):
            distance = np.hypot(x - column - dx, y - row - dy)
            nearest = np.sort(np.stack([*nearest, distance]), axis=0)[:2]
    return _edge(rng.uniform(0.07, 0.13) - (nearest[1] - nearest[0]) / 2)


def _triangles(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    row = np.floor(y)
    return _edge((y - row) - 2 * _wave(x + 0.5 * (row % 2)), 0.25)


TEXTURES: dict[str, Field] = {
    "horizontal stripes": _horizontal,
    "vertical stripes": _vertical,
    "diagonal stripes": _diagonal,
    "checks": _checks,
    "dots": _dots,
    "bricks": _bricks,
    "zigzags": _zigzags,
    "waves": _waves,
    "a grid": _grid,
    "rings": _rings,
    "rays": _rays,
    "noise": _noise,
    "clouds": _clouds,
    "scales": _scales,
    "a honeycomb": _honeycomb,
    "triangles": _triangles,
}
"""The classes of `textures`, in order."""
_CENTRED = ("rings", "rays")
