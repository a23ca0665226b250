"""Tasks about numbers and levels: clocks, dominoes, digital displays, shirts and gauges."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

import numpy as np

from benchmarks.broad.pen import CENTRE, Pen, ground, shade, towards
from benchmarks.mini import letters, render
from benchmarks.mini.iconfonts import glyph_mask
from benchmarks.mini.render import Picture

TILES = tuple(combinations_with_replacement(range(7), 2))
"""The 28 tiles of a set of dominoes as pairs of numbers, in the order of the classes of `dominoes`."""

_PIPS = {
    0: "",
    1: "c",
    2: "ai",
    3: "aci",
    4: "afdi",
    5: "afcdi",
    6: "afdibh",
}
_PIP_PLACES = {"a": (-1, -1), "b": (0, -1), "d": (-1, 1), "c": (0, 0), "f": (1, -1), "h": (0, 1), "i": (1, 1)}
_SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def clock(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a clock at a full hour, label + 1, tilted by up to 6 degrees. Other style: a square dark face with pointed hands."""
    face = shade(rng, not other_style)
    ink = shade(rng, other_style)
    pen = Pen(ground(rng, render.colour(rng, 60, 210), 50), rng.uniform(-0.1, 0.1))
    radius = rng.uniform(17, 22)
    if other_style:
        pen.box(CENTRE - radius, CENTRE - radius, CENTRE + radius, CENTRE + radius, face)
    else:
        pen.disc(CENTRE, CENTRE, radius, face)
        pen.circle(CENTRE, CENTRE, radius, ink, rng.uniform(1, 2.5))
    marks = range(0, 12, 3 if other_style or rng.random() < 0.4 else 1)
    middle = (CENTRE, CENTRE)
    for hour in marks:
        angle = hour * np.pi / 6
        pen.path([towards(middle, angle, 0.78 * radius), towards(middle, angle, 0.9 * radius)], ink, 1)
    width = rng.uniform(1.4, 2.6)
    hands = (((label + 1) * np.pi / 6, rng.uniform(0.42, 0.55), 1.3 * width), (0.0, rng.uniform(0.68, 0.8), 0.8 * width))
    for angle, length, thick in hands:
        end = towards(middle, angle, length * radius)
        if other_style:
            pen.polygon([towards(middle, angle + np.pi / 2, thick), end, towards(middle, angle - np.pi / 2, thick)], ink)
        else:
            pen.path([towards(middle, angle + np.pi, 0.1 * radius), end], ink, thick)
    pen.disc(CENTRE, CENTRE, 1.2 * width, ink)
    return render.finish(render.grain(pen.picture(), rng, 9))


def domino(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a domino tile at any angle on a table. Other style: a dark tile with coloured square pips."""
    pen = Pen(ground(rng, render.colour(rng, 60, 200), 40), rng.uniform(0, 2 * np.pi))
    scale = rng.uniform(0.88, 1.05)
    long, short, step = 20 * scale, 10 * scale, 5.6 * scale
    body = rng.uniform(15, 60, 3) if other_style else rng.uniform(215, 255, 3)
    ink = render.colour(rng, 150, 255) if other_style else rng.uniform(0, 60, 3)
    pen.box(CENTRE - long, CENTRE - short, CENTRE + long, CENTRE + short, body)
    pen.path([(CENTRE, CENTRE - 0.75 * short), (CENTRE, CENTRE + 0.75 * short)], 0.5 * (body + ink), 0.8)
    for side, number in zip((-1, 1), TILES[label], strict=True):
        for pip in _PIPS[number]:
            x, y = CENTRE + side * long / 2 + step * _PIP_PLACES[pip][0], CENTRE + step * _PIP_PLACES[pip][1]
            if other_style:
                pen.box(x - 1.4, y - 1.4, x + 1.4, y + 1.4, ink)
            else:
                pen.disc(x, y, 1.7 * scale, ink)
    return render.finish(render.grain(pen.picture(), rng, 6))


def display(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a two-digit number of seven segments that glow on a dark ground. Other style: dark segments on a pale ground."""
    low, high = ((120, 205), (0, 60)) if other_style else ((0, 45), (150, 255))
    field, ink = render.colour(rng, *low), render.colour(rng, *high)
    if not other_style:
        ink[rng.integers(3)] = 255
    picture = ground(rng, field, 15)
    width, height, thick = rng.uniform(12, 15), rng.uniform(11, 14), rng.uniform(2, 3.4)
    slant, x0, y0 = rng.uniform(0, 0.14), rng.uniform(5, 8), CENTRE - height + rng.uniform(-4, 4)
    pen = Pen(picture)
    for place, digit in enumerate(divmod(label, 10)):
        left, right = x0 + place * (width + 7), x0 + place * (width + 7) + width
        corners = {(column, row): (x + slant * (2 - row) * height, y0 + row * height)
                   for column, x in ((0, left), (1, right)) for row in range(3)}  # fmt: skip
        ends = {"a": (0, 0, 1, 0), "b": (1, 0, 1, 1), "c": (1, 1, 1, 2), "d": (0, 2, 1, 2),
                "e": (0, 1, 0, 2), "f": (0, 0, 0, 1), "g": (0, 1, 1, 1)}  # fmt: skip
        unlit = 0.85 * field + 0.15 * ink
        for segment, (c0, r0, c1, r1) in ends.items():
            start, end = np.array(corners[c0, r0]), np.array(corners[c1, r1])
            gap = 0.6 * thick * (end - start) / np.hypot(*(end - start))
            lit = segment in _SEGMENTS[digit]
            pen.path([tuple(start + gap), tuple(end - gap)], ink if lit else unlit, thick)
    return render.finish(render.grain(pen.picture(), rng, 6))


def shirt(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a sports shirt with a digit. Other style: digits of other typefaces."""
    cloth, ink = render.contrasting(rng, 80)
    pen = Pen(ground(rng, render.colour(rng, 80, 230), 40), rng.uniform(-0.08, 0.08))
    outline = [(17, 5), (31, 5), (46, 13), (42, 24), (36, 21), (36, 45), (12, 45), (12, 21), (6, 24), (2, 13)]
    pen.polygon(outline, cloth)
    trim = render.colour(rng)
    if rng.random() < 0.4:
        for x in (13.5, 34.5):
            pen.path([(x, 14), (x, 45)], trim, 2)
    pen.path([(18, 5), (24, 9), (30, 5)], trim, 2)
    fonts = letters.HELDOUT_FONTS if other_style else letters.MAIN_FONTS
    alpha = render.place(digit_mask(fonts[rng.integers(len(fonts))], label), rng, (0.42, 0.55), 6, 0.02)
    picture = render.paint(pen.picture(), ink, np.roll(alpha, 3, axis=0))
    return render.finish(render.grain(picture, rng, 9))


def gauge(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw a bar, a column or a ring that is filled to a level in quarters. Other style: a glass of liquid."""
    light = bool(rng.random() < 0.5)
    back = shade(rng, light)
    frame, fill = shade(rng, not light), render.colour(rng, 40, 215)
    while abs(render.luminance(fill) - render.luminance(back)) < 50:
        fill = render.colour(rng, 0, 255)
    level = float(np.clip(_LEVELS[label] + rng.uniform(-0.04, 0.04), 0, 1))
    picture = ground(rng, back, 15)
    if other_style:
        picture = _glass(picture, rng, level, frame, fill)
    else:
        picture = (_bar, _column, _ring)[rng.integers(3)](picture, rng, level, frame, fill)
    return render.finish(render.grain(picture, rng, 8))


def _bar(picture: Picture, rng: np.random.Generator, level: float, frame: np.ndarray, fill: np.ndarray) -> Picture:
    pen, long, short = Pen(picture), rng.uniform(16, 21), rng.uniform(4, 10)
    y = CENTRE + rng.uniform(-7, 7)
    if level > 0:
        pen.box(CENTRE - long, y - short, CENTRE - long + 2 * long * level, y + short, fill)
    corners = [(CENTRE - long, y - short), (CENTRE + long, y - short), (CENTRE + long, y + short), (CENTRE - long, y + short)]
    pen.path(corners, frame, 1.5, closed=True)
    return pen.picture()


def _column(picture: Picture, rng: np.random.Generator, level: float, frame: np.ndarray, fill: np.ndarray) -> Picture:
    pen, long, short = Pen(picture), rng.uniform(16, 21), rng.uniform(4, 10)
    x = CENTRE + rng.uniform(-7, 7)
    if level > 0:
        pen.box(x - short, CENTRE + long - 2 * long * level, x + short, CENTRE + long, fill)
    corners = [(x - short, CENTRE - long), (x + short, CENTRE - long), (x + short, CENTRE + long), (x - short, CENTRE + long)]
    pen.path(corners, frame, 1.5, closed=True)
    return pen.picture()


def _ring(picture: Picture, rng: np.random.Generator, level: float, frame: np.ndarray, fill: np.ndarray) -> Picture:
    pen, radius, width = Pen(picture), rng.uniform(14, 21), rng.uniform(4, 8)
    if level > 0:
        pen.arc(CENTRE, CENTRE, radius, 0, 360 * level, fill, width)
    pen.circle(CENTRE, CENTRE, radius, frame, 1.2)
    pen.circle(CENTRE, CENTRE, radius - width, frame, 1.2)
    return pen.picture()


def _glass(picture: Picture, rng: np.random.Generator, level: float, frame: np.ndarray, fill: np.ndarray) -> Picture:
    pen, height, top, bottom = Pen(picture), rng.uniform(30, 40), rng.uniform(12, 18), rng.uniform(7, 11)
    base = CENTRE + height / 2
    breadth = bottom + (top - bottom) * level
    if level > 0:
        surface = base - height * level
        pen.polygon(
            [(CENTRE - breadth, surface), (CENTRE + breadth, surface), (CENTRE + bottom, base), (CENTRE - bottom, base)], fill
        )
    wall = [(CENTRE - top, base - height), (CENTRE - bottom, base), (CENTRE + bottom, base), (CENTRE + top, base - height)]
    pen.path(wall, frame, 1.8)
    return pen.picture()


@cache
def digit_mask(font: str, digit: int) -> np.ndarray:
    """Return a digit as a mask, uint8 [64, 64]. Raises LookupError if the font does not have it."""
    mask = glyph_mask(letters.typeface(font), str(digit))
    if mask is None:
        raise LookupError(f"the font {font} has no digit {digit}")
    return mask
