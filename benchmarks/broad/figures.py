"""Tasks about figures: plain geometric figures, faces with an expression, and symmetric patterns."""

from __future__ import annotations

import numpy as np

from benchmarks.broad.pen import CENTRE, Pen, Point, ground, shade
from benchmarks.mini import render
from benchmarks.mini.render import SIZE, Colour, Picture

FIGURES = (
    *("circle", "oval", "ring", "square", "rectangle", "diamond", "triangle", "pentagon", "hexagon", "star", "cross", "heart"),
)
FACES = ("happy", "sad", "angry", "surprised", "sleeping", "winking", "crying", "laughing")
_SIDES = {"square": 4, "triangle": 3, "pentagon": 5, "hexagon": 6}


def figure(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw one large plain figure, white on black half of the time. Other style: a rough outline."""
    name = FIGURES[label]
    light = bool(rng.random() < 0.35)
    back, ink = shade(rng, light), shade(rng, not light)
    if rng.random() < 0.5:
        back, ink = np.full(3, 5.0, np.float32), np.full(3, 250.0, np.float32)
    turn = rng.uniform(-0.25, 0.25)
    pen, radius = Pen(render.flat(back), turn), rng.uniform(13, 19)
    points = outline(name) * radius + CENTRE + rng.uniform(-3, 3, 2)
    if other_style:
        points = points + rng.normal(0, 0.7, points.shape)
        pen.path([(x, y) for x, y in points], ink, rng.uniform(1.5, 2.5), closed=True)
    else:
        pen.polygon([(x, y) for x, y in points], ink)
    if name == "ring":
        middle = points.mean(axis=0)
        inner = middle + 0.6 * (points - middle)
        if other_style:
            pen.path([(x, y) for x, y in inner], ink, 1.5, closed=True)
        else:
            pen.polygon([(x, y) for x, y in inner], back)
    return render.finish(render.grain(pen.picture(), rng, 5))


def outline(name: str) -> np.ndarray:
    """Return the corners [n, 2] of a figure in `FIGURES` around (0, 0), within a radius of about 1."""
    if name in _SIDES:
        angles = (np.pi / 4 if name == "square" else 0) + 2 * np.pi * np.arange(_SIDES[name]) / _SIDES[name]
        return np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    if name == "star":
        angles, radii = np.pi * np.arange(10) / 5, np.where(np.arange(10) % 2, 0.42, 1.0)
        return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)
    if name == "heart":
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x, -y], axis=1) / 17
    if name in ("circle", "ring", "oval"):
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        return np.stack([np.sin(t), -np.cos(t) * (0.6 if name == "oval" else 1)], axis=1)
    if name == "diamond":
        return np.array([(0, -1), (0.7, 0), (0, 1), (-0.7, 0)])
    if name == "rectangle":
        return np.array([(-1, -0.55), (1, -0.55), (1, 0.55), (-1, 0.55)])
    a, b = 0.33, 0.95
    return np.array(
        [(a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a), (-a, -b)]
    )


def face(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a round face with an expression. Other style: a line drawing of a square face."""
    back = render.colour(rng, 60, 255)
    skin = np.array([rng.uniform(225, 255), rng.uniform(170, 225), rng.uniform(40, 160)], dtype=np.float32)
    ink = rng.uniform(0, 70, 3).astype(np.float32)
    tilt, radius = rng.uniform(-0.15, 0.15), rng.uniform(17, 22)
    pen = Pen(ground(rng, back), tilt)
    if other_style:
        pen = Pen(ground(rng, rng.uniform(215, 255, 3).astype(np.float32), 10), tilt)
        low, high = CENTRE - radius, CENTRE + radius
        pen.path([(low, low), (high, low), (high, high), (low, high)], ink, 1.6, closed=True)
    else:
        pen.disc(CENTRE, CENTRE, radius, skin)
    unit = radius / 20
    eye, mouth, width = unit * rng.uniform(6.5, 8.5), CENTRE + unit * rng.uniform(7, 9), unit * rng.uniform(1.6, 2.4)
    _eyes(pen, FACES[label], eye, CENTRE - 4.5 * unit, unit, width, ink)
    _mouth(pen, FACES[label], mouth, unit * rng.uniform(6.5, 9), width, ink)
    return render.finish(render.grain(pen.picture(), rng, 8))


def _eyes(pen: Pen, name: str, apart: float, y: float, unit: float, width: float, ink: Colour) -> None:
    for side in (-1, 1):
        x = CENTRE + side * apart
        if name == "sleeping" or (name == "winking" and side == 1):
            pen.path([(x - 3 * unit, y), (x + 3 * unit, y)], ink, width)
        elif name == "laughing":
            pen.arc(x, y + 2 * unit, 3.4 * unit, -80, 80, ink, width)
        else:
            pen.disc(x, y, (3.2 if name == "surprised" else 2.2) * unit, ink)
        if name == "angry":
            pen.path([(x + side * 4 * unit, y - 6.5 * unit), (x - side * 3 * unit, y - 3.2 * unit)], ink, width)
        if name == "crying":
            pen.box(x - 1.2 * unit, y + 3 * unit, x + 1.2 * unit, y + 9 * unit, np.array([60.0, 140.0, 240.0]))


def _mouth(pen: Pen, name: str, y: float, half: float, width: float, ink: Colour) -> None:
    if name in ("happy", "winking"):
        pen.arc(CENTRE, y - half, half * 1.2, 110, 250, ink, width)
    elif name == "laughing":
        pen.slice(CENTRE, y - 0.5 * half, half, 90, 270, ink)
    elif name in ("sad", "crying", "angry"):
        pen.arc(CENTRE, y + half, half * 1.2, -65, 65, ink, width)
    elif name == "surprised":
        pen.disc(CENTRE, y, 0.5 * half, ink)
    else:
        pen.path([(CENTRE - 0.6 * half, y), (CENTRE + 0.6 * half, y)], ink, width)


def pattern(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a random pattern that is its mirror image from left to right (label 0), or is not. Other style: coarse pixels."""
    first, second = render.contrasting(rng, 70)
    third = render.colour(rng)
    draw = _pixels if other_style else _strokes
    seed = int(rng.integers(2**31))
    count = int(rng.integers(4, 8))
    left = draw(np.random.default_rng(seed), count, first, second, third)
    # The other half of an asymmetric pattern comes from another seed, so both kinds have the same statistics by half.
    right = left if label == 0 else draw(np.random.default_rng(seed + 1), count, first, second, third)
    half = SIZE // 2
    picture = np.concatenate([left[:, :half], right[:, :half][:, ::-1]], axis=1)
    return render.finish(render.grain(picture, rng, 7))


def _strokes(rng: np.random.Generator, count: int, first: Colour, second: Colour, third: Colour) -> Picture:
    pen = Pen(render.flat(first))
    for _ in range(count):
        ink = second if rng.random() < 0.6 else third
        x, y = rng.uniform(0, SIZE / 2), rng.uniform(2, SIZE - 2)
        kind = rng.integers(3)
        if kind == 0:
            pen.disc(x, y, rng.uniform(2, 6), ink)
        elif kind == 1:
            end: Point = (x + rng.uniform(-14, 14), y + rng.uniform(-14, 14))
            pen.path([(x, y), end], ink, rng.uniform(1.5, 3.5))
        else:
            width, height = rng.uniform(2, 6, 2)
            pen.box(x - width, y - height, x + width, y + height, ink)
    return pen.picture()


def _pixels(rng: np.random.Generator, count: int, first: Colour, second: Colour, third: Colour) -> Picture:
    cells = np.stack([first, first, second, third])[rng.integers(0, 4, (8, 8))]
    picture: Picture = np.kron(cells, np.ones((6, 6, 1))).astype(np.float32)
    return picture
