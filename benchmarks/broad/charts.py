"""The task `charts`: the kind of a chart of random numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.broad.pen import CENTRE, Pen, Point, shade, towards
from benchmarks.mini import render
from benchmarks.mini.render import Colour

LEFT, RIGHT, TOP, BOTTOM = 6.0, 44.0, 5.0, 42.0


def chart(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a chart of the kind `label` on a light ground. Other style: on a dark ground."""
    light = not other_style
    pen = Pen(render.flat(rng.uniform(225, 255, 3) if light else rng.uniform(0, 45, 3)))
    axis = shade(rng, not light) * (0.6 if light else 1.0)
    inks = [render.colour(rng, 20, 200) if light else render.colour(rng, 90, 255) for _ in range(6)]
    name = list(CHARTS)[label]
    if name not in _WITHOUT_AXES and rng.random() < 0.3:
        for y in np.linspace(TOP, BOTTOM, 5)[:-1]:
            pen.path([(LEFT, y), (RIGHT, y)], 0.75 * (235 if light else 30) + 0.25 * axis, 0.6)
    CHARTS[name](pen, rng, inks)
    if name not in _WITHOUT_AXES:
        pen.path([(LEFT, TOP - 2), (LEFT, BOTTOM), (RIGHT + 1, BOTTOM)], axis, 1)
    return render.finish(render.grain(pen.picture(), rng, 6))


def _bar(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count, same = int(rng.integers(3, 8)), rng.random() < 0.6
    step = (RIGHT - LEFT) / count
    for index in range(count):
        x = LEFT + (index + 0.18) * step
        pen.box(x, BOTTOM - rng.uniform(5, 36), x + 0.64 * step, BOTTOM, inks[0 if same else index % 6])


def _horizontal_bar(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count, same = int(rng.integers(3, 8)), rng.random() < 0.6
    step = (BOTTOM - TOP) / count
    for index in range(count):
        y = TOP + (index + 0.18) * step
        pen.box(LEFT, y, LEFT + rng.uniform(5, 37), y + 0.64 * step, inks[0 if same else index % 6])


def _stacked_bar(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count, parts = int(rng.integers(3, 7)), int(rng.integers(2, 4))
    step = (RIGHT - LEFT) / count
    for index in range(count):
        x, y = LEFT + (index + 0.18) * step, BOTTOM
        for part in range(parts):
            height = rng.uniform(5, 34 / parts)
            pen.box(x, y - height, x + 0.64 * step, y, inks[part])
            y -= height


def _series(rng: np.random.Generator) -> list[Point]:
    count = int(rng.integers(5, 11))
    heights = np.cumsum(rng.normal(0, 1, count)) + rng.normal(0, 1) * np.linspace(0, 3, count)
    heights = (heights - heights.min()) / max(np.ptp(heights), 0.1) * rng.uniform(15, 32) + rng.uniform(1, 5)
    return [(float(x), float(BOTTOM - h)) for x, h in zip(np.linspace(LEFT, RIGHT, count), heights, strict=True)]


def _line(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    for ink in inks[: int(rng.integers(1, 4))]:
        points = _series(rng)
        pen.path(points, ink, rng.uniform(1, 2))
        if rng.random() < 0.3:
            for x, y in points:
                pen.disc(x, y, 1.4, ink)


def _area(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    pen.polygon([(LEFT, BOTTOM), *_series(rng), (RIGHT, BOTTOM)], inks[0])
    if rng.random() < 0.5:
        lower = [(x, BOTTOM - 0.45 * (BOTTOM - y)) for x, y in _series(rng)]
        pen.polygon([(LEFT, BOTTOM), *lower, (RIGHT, BOTTOM)], inks[1])


def _scatter(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count, slope, size = int(rng.integers(12, 35)), rng.uniform(-1, 1), rng.uniform(0.9, 1.5)
    x = rng.uniform(-0.5, 0.5, count)
    y = np.clip(slope * x + rng.normal(0, 0.17, count), -0.5, 0.5)
    for index in range(count):
        place = (LEFT + 2 + 35 * (x[index] + 0.5), BOTTOM - 2 - 33 * (y[index] + 0.5))
        pen.disc(*place, size, inks[0 if rng.random() < 0.8 else 1])


def _bubble(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    for index in range(int(rng.integers(4, 9))):
        radius = rng.uniform(2, 6.5)
        place = rng.uniform((LEFT + radius, TOP + radius), (RIGHT - radius, BOTTOM - radius))
        pen.disc(float(place[0]), float(place[1]), radius, inks[index % 6])


def _pie(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    _slices(pen, rng, inks, rng.uniform(16, 21))


def _doughnut(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    radius = rng.uniform(16, 21)
    width, start = radius * rng.uniform(0.3, 0.5), rng.uniform(0, 360)
    for index, angle in enumerate(_shares(rng)):
        pen.arc(CENTRE, CENTRE, radius, start, start + angle, inks[index], width)
        start += angle


def _slices(pen: Pen, rng: np.random.Generator, inks: list[Colour], radius: float) -> None:
    start = rng.uniform(0, 360)
    for index, angle in enumerate(_shares(rng)):
        pen.slice(CENTRE, CENTRE, radius, start, start + angle, inks[index])
        start += angle


def _shares(rng: np.random.Generator) -> np.ndarray:
    shares = rng.uniform(0.3, 1, int(rng.integers(3, 7)))
    angles: np.ndarray = 360 * shares / shares.sum()
    return angles


def _box_plot(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count = int(rng.integers(2, 6))
    step = (RIGHT - LEFT) / count
    for index in range(count):
        x, half = LEFT + (index + 0.5) * step, 0.28 * step
        low, first, middle, third, high = np.sort(rng.uniform(TOP + 2, BOTTOM - 2, 5))
        pen.path([(x, low), (x, high)], inks[5], 0.9)
        pen.box(x - half, first, x + half, third, inks[0])
        for y in (low, middle, high):
            pen.path([(x - half, y), (x + half, y)], inks[5], 0.9)


def _heat_map(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    rows, columns = int(rng.integers(4, 8)), int(rng.integers(4, 8))
    width, height = (RIGHT - LEFT) / columns, (BOTTOM - TOP) / rows
    for row in range(rows):
        for column in range(columns):
            share = np.clip(0.5 * rng.random() + 0.5 * (row + column) / (rows + columns), 0, 1)
            x, y = LEFT + column * width, TOP + row * height
            pen.box(x, y, x + width - 0.4, y + height - 0.4, (1 - share) * inks[0] + share * inks[1])


def _radar(pen: Pen, rng: np.random.Generator, inks: list[Colour]) -> None:
    count, middle = int(rng.integers(5, 9)), (CENTRE, CENTRE)
    angles = 2 * np.pi * np.arange(count) / count
    for radius in (7, 14, 20):
        pen.path([towards(middle, a, radius) for a in angles], inks[5], 0.6, closed=True)
    for angle in angles:
        pen.path([middle, towards(middle, angle, 20)], inks[5], 0.6)
    for ink in inks[: int(rng.integers(1, 3))]:
        points = [towards(middle, a, rng.uniform(6, 20)) for a in angles]
        pen.path(points, ink, 1.8, closed=True)


CHARTS: dict[str, Callable[[Pen, np.random.Generator, list[Colour]], None]] = {
    "bar chart": _bar,
    "line chart": _line,
    "pie chart": _pie,
    "scatter plot": _scatter,
    "area chart": _area,
    "horizontal bar chart": _horizontal_bar,
    "stacked bar chart": _stacked_bar,
    "doughnut chart": _doughnut,
    "bubble chart": _bubble,
    "box plot": _box_plot,
    "heat map": _heat_map,
    "radar chart": _radar,
}
"""The classes of `charts`, in order."""
_WITHOUT_AXES = ("pie chart", "doughnut chart", "heat map", "radar chart")
