"""Two rendered domains: coloured shapes in noise, and small shapes to count."""

from __future__ import annotations

import numpy as np

from benchmarks.mini import render
from benchmarks.mini.domain_table import ENTRIES, SHAPES
from benchmarks.mini.render import SIZE, generator

PALETTE = {
    "red": (212, 42, 44),
    "green": (45, 160, 66),
    "blue": (48, 78, 208),
    "yellow": (232, 212, 55),
    "purple": (138, 54, 168),
    "orange": (242, 138, 34),
}


def corners(count: int, radius: float, turn: float, inner: float = 1.0) -> np.ndarray:
    """Return the corners [n, 2] of a regular polygon around (0, 0), or of a star with inner corners at `inner` x radius."""
    points = count if inner == 1.0 else 2 * count
    angles = turn + 2 * np.pi * np.arange(points) / points
    radii = np.where(np.arange(points) % 2 == 0, radius, radius * inner)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def shape_alpha(shape: str, x: float, y: float, radius: float, turn: float) -> np.ndarray:
    """Return a shape at (x, y) as an alpha [48, 48]."""
    if shape in ("circle", "ring"):
        disc = _disc(x, y, radius)
        if shape == "circle":
            return disc
        ring: np.ndarray = np.clip(disc - _disc(x, y, radius * 0.6), 0, 1)
        return ring
    if shape == "cross":
        arm = 0.36 * radius
        bar = np.array([(-arm, -radius), (arm, -radius), (arm, radius), (-arm, radius)])
        cos, sin = np.cos(turn), np.sin(turn)
        bars = [bar @ np.array([[cos, sin], [-sin, cos]]), bar @ np.array([[sin, -cos], [cos, sin]])]
        first, second = (render.polygon([tuple(p) for p in points + np.array([x, y])]) for points in bars)
        cross: np.ndarray = np.maximum(first, second)
        return cross
    kinds = {"square": (4, 1.15, turn + np.pi / 4, 1.0), "triangle": (3, 1.2, turn, 1.0), "star": (5, 1.2, turn, 0.42)}
    count, factor, angle, inner = kinds[shape]
    return render.polygon([tuple(p) for p in corners(count, radius * factor, angle, inner) + np.array([x, y])])


def _disc(x: float, y: float, r: float) -> np.ndarray:
    return render.outline(lambda canvas, k: canvas.ellipse([(x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k], 255))


def coloured_shape(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a shape of a jittered colour on a noisy light or dark ground with stray lines."""
    colour, shape = name.split()
    low, high = (160, 255) if rng.random() < 0.5 else (0, 90)
    picture = render.grain(render.gradient(rng, render.colour(rng, low, high), render.colour(rng, low, high)), rng, 14)
    for _ in range(3):
        stroke = render.line(rng.uniform(0, SIZE, 2), rng.uniform(0, SIZE, 2), 1)
        picture = render.paint(picture, render.colour(rng), stroke)
    ink = (np.array(PALETTE[colour]) + rng.uniform(-28, 28, 3)).clip(0, 255)
    x, y = SIZE / 2 + rng.uniform(-9, 9, 2)
    alpha = shape_alpha(shape, x, y, rng.uniform(7, 14), rng.uniform(-0.5, 0.5))
    return render.finish(render.grain(render.paint(picture, ink, alpha), rng, 12))


def group(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` separate copies of one shape, light on dark or dark on light."""
    dark = bool(rng.random() < 0.5)
    low, high = (0, 120) if dark else (135, 255)
    picture = render.gradient(rng, render.colour(rng, low, high), render.colour(rng, low, high))
    shape = SHAPES[rng.integers(len(SHAPES))]
    radius = rng.uniform(3.6, 5.4)
    centres: list[np.ndarray] = []
    while len(centres) < count:
        candidate = rng.uniform(6, SIZE - 6, 2)
        if all(np.hypot(*(candidate - other)) > 12.5 for other in centres):
            centres.append(candidate)
    for x, y in centres:
        ink = render.colour(rng, 190) if dark else render.colour(rng, 0, 80)
        picture = render.paint(picture, ink, shape_alpha(shape, x, y, radius, rng.uniform(0, 6)))
    return render.finish(render.grain(picture, rng, 9))


def images(domain: str, split: str, per_class: int, seen: set[bytes]) -> list[list[np.ndarray]]:
    """Draw one split: `per_class` pictures uint8 [3, 48, 48] for each class, none of which is in `seen`."""
    names = ENTRIES[domain].classnames
    return [_class_images(domain, split, label, name, per_class, seen) for label, name in enumerate(names)]


def _class_images(domain: str, split: str, label: int, name: str, count: int, seen: set[bytes]) -> list[np.ndarray]:
    rng = generator(domain, split, name)
    return render.distinct(lambda _: coloured_shape(name, rng) if domain == "shapes" else group(label + 1, rng), count, seen)
