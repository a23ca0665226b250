"""Clean shapes and groups of shapes for pretraining, with another generator and style than `shapes` and `counting`.

They are flat silhouettes or outlines without noise or lines. Some shapes are in no domain. Groups are more varied than those
of the domain: up to eight things, also in rows, of one size or of mixed sizes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.mini.iconfonts import MASK_SIZE
from benchmarks.mini.render import generator

FACTOR = 4
SIDES = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6, "octagon": 8}
KINDS = ("circle", "square", "triangle", "star", "cross", "ring", "pentagon", "hexagon", "diamond", "oval", "rectangle")
NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
SHAPE_VARIANTS = 60
GROUPS = 500


def items() -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (kind, subject, uint8 [64, 64]): kind "shapes" with a shape's name, kind "counting" with "three things"."""
    rng = generator("pool", "shapes")
    for kind in KINDS:
        for _ in range(SHAPE_VARIANTS):
            yield "shapes", kind, _masked([(kind, MASK_SIZE / 2, MASK_SIZE / 2, 30.0, rng.uniform(-0.4, 0.4))], rng)
    rng = generator("pool", "counting")
    for number, word in enumerate(NUMBER_WORDS, start=1):
        for _ in range(GROUPS):
            kind = KINDS[rng.integers(len(KINDS))]
            radius = rng.uniform(3.5, 7.0)
            places = _row(number, rng) if rng.random() < 0.15 else _scattered(number, radius, rng)
            mixed = rng.random() < 0.3
            turn = rng.uniform(0, 6)
            parts = [(kind, x, y, radius * (rng.uniform(0.7, 1) if mixed else 1), turn) for x, y in places]
            yield "counting", f"{word} thing{'s' if number > 1 else ''}", _masked(parts, rng)


def _scattered(number: int, radius: float, rng: np.random.Generator) -> list[np.ndarray]:
    places: list[np.ndarray] = []
    while len(places) < number:
        candidate = rng.uniform(radius + 1, MASK_SIZE - radius - 1, 2)
        if all(np.hypot(*(candidate - other)) > 2.2 * radius + 2 for other in places):
            places.append(candidate)
        elif rng.random() < 0.002:
            places.clear()
    return places


def _row(number: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    level = rng.uniform(20, 44)
    step = MASK_SIZE / number
    return [((index + 0.5) * step, level) for index in range(number)]


def _masked(parts: list[tuple[str, float, float, float, float]], rng: np.random.Generator) -> np.ndarray:
    hollow = rng.random() < 0.2
    canvas = Image.new("L", (MASK_SIZE * FACTOR, MASK_SIZE * FACTOR))
    draw = ImageDraw.Draw(canvas)
    for kind, x, y, radius, turn in parts:
        _draw(draw, kind, x * FACTOR, y * FACTOR, radius * FACTOR, turn)
        if hollow and kind not in ("ring", "cross") and radius > 5:
            _draw(draw, kind, x * FACTOR, y * FACTOR, 0.72 * radius * FACTOR, turn, ink=0)
    return np.asarray(canvas.reduce(FACTOR))


def _draw(draw: ImageDraw.ImageDraw, kind: str, x: float, y: float, r: float, turn: float, ink: int = 255) -> None:
    if kind in ("circle", "oval", "ring"):
        height = 0.6 * r if kind == "oval" else r
        draw.ellipse([x - r, y - height, x + r, y + height], fill=ink)
        if kind == "ring":
            draw.ellipse([x - 0.62 * r, y - 0.62 * r, x + 0.62 * r, y + 0.62 * r], fill=0)
        return
    if kind in SIDES:
        angles = turn + (np.pi / 4 if kind == "square" else 0) + 2 * np.pi * np.arange(SIDES[kind]) / SIDES[kind]
        outline = np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    elif kind == "star":
        angles = turn + np.pi * np.arange(10) / 5
        outline = np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.where(np.arange(10) % 2, 0.42, 1)[:, None]
    elif kind == "diamond":
        outline = np.array([(0, -1), (0.7, 0), (0, 1), (-0.7, 0)])
    elif kind == "rectangle":
        outline = _turned(np.array([(-1, -0.55), (1, -0.55), (1, 0.55), (-1, 0.55)]), turn)
    else:
        a = 0.33
        quarter = [(a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a), (-a, -1)]
        outline = _turned(np.array(quarter), turn)
    draw.polygon([(x + r * u, y + r * v) for u, v in outline], fill=ink)


def _turned(points: np.ndarray, turn: float) -> np.ndarray:
    cos, sin = np.cos(turn), np.sin(turn)
    turned: np.ndarray = points @ np.array([[cos, sin], [-sin, cos]])
    return turned
