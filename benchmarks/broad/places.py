"""Tasks about places: positions in the picture, directions, the larger of two things, and things turned by quarters."""

from __future__ import annotations

import numpy as np

from benchmarks.broad.pen import CENTRE, Pen, ground, shade, towards
from benchmarks.broad.things import directed_masks, icon_alpha
from benchmarks.mini import iconfonts, render
from benchmarks.mini.domain_table import SHAPES
from benchmarks.mini.render import Colour, Picture
from benchmarks.mini.shapes import shape_alpha


def position(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw one small shape in cell `label` of a three by three grid, counted by rows. Other style: an icon."""
    picture, ink = _plain(rng)
    row, column = divmod(label, 3)
    x, y = (8 + 16 * np.array([column, row])) + rng.uniform(-2.5, 2.5, 2)
    radius = rng.uniform(3.5, 6)
    return render.finish(render.grain(render.paint(picture, ink, _thing(rng, x, y, radius, other_style)), rng, 8))


def larger(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw two shapes of one kind, of which the left one (label 0) or the right one is 1.3 to 2 times as large.

    Other style: one icon in two sizes.
    """
    picture, ink = _plain(rng)
    small = rng.uniform(4, 6.5)
    radii = [small * rng.uniform(1.3, 2), small]
    turn, chosen = rng.uniform(0, 6), int(rng.integers(2**31))
    for x, radius in zip((12, 36), radii if label == 0 else radii[::-1], strict=True):
        place = np.array([x, CENTRE]) + rng.uniform(-1, 1, 2) * (1, 8)
        alpha = _thing(np.random.default_rng(chosen), place[0], place[1], min(radius, 11), other_style, turn)
        picture = render.paint(picture, ink, alpha)
    return render.finish(render.grain(picture, rng, 8))


def arrow(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw an arrow in one of eight directions, clockwise from the top. Other style: a pointer without a shaft.

    The angle differs from the direction by up to 12 degrees.
    """
    light = bool(rng.random() < 0.5)
    ink = shade(rng, not light)
    pen = Pen(ground(rng, shade(rng, light), 40), label * np.pi / 4 + rng.uniform(-0.21, 0.21))
    length, breadth, width = rng.uniform(13, 20), rng.uniform(6, 11), rng.uniform(2, 5)
    tip, neck = CENTRE - length, CENTRE - length + rng.uniform(0.8, 1.2) * breadth
    if not other_style:
        pen.path([(CENTRE, CENTRE + length), (CENTRE, neck)], ink, width)
        head = [(CENTRE, tip), (CENTRE + breadth, neck), (CENTRE - breadth, neck)]
        if rng.random() < 0.5:
            pen.polygon(head, ink)
        else:
            pen.path([(CENTRE, tip + 1), (CENTRE, neck)], ink, width)
            pen.path([head[1], head[0], head[2]], ink, width)
    elif rng.random() < 0.5:
        width = min(width, 0.35 * breadth)
        for start in (tip, tip + 0.9 * breadth):
            pen.path([(CENTRE + breadth, start + breadth), (CENTRE, start), (CENTRE - breadth, start + breadth)], ink, width)
    else:
        pen.polygon([(CENTRE, tip), (CENTRE + breadth, CENTRE + length), towards((CENTRE, CENTRE), np.pi, 0.5 * length),
                     (CENTRE - breadth, CENTRE + length)], ink)  # fmt: skip
    return render.finish(render.grain(pen.picture(), rng, 10))


def turned(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw an icon that is turned by `label` quarters clockwise, within 8 degrees. Other style: icons of other families."""
    families = iconfonts.HELDOUT_FAMILIES if other_style else iconfonts.MAIN_FAMILIES
    masks = directed_masks(families)
    mask = np.ascontiguousarray(np.rot90(masks[rng.integers(len(masks))], -label))
    picture, ink = _plain(rng)
    alpha = render.place(mask, rng, (0.6, 0.9), 8, 0.06)
    return render.finish(render.grain(render.paint(picture, ink, alpha), rng, 9))


def _plain(rng: np.random.Generator) -> tuple[Picture, Colour]:
    """Return a slightly shaded ground and an ink that differs from it."""
    first, ink = render.contrasting(rng, 70)
    return ground(rng, first), ink


def _thing(rng: np.random.Generator, x: float, y: float, radius: float, icon: bool, turn: float | None = None) -> np.ndarray:
    """Return a random shape or icon at (x, y) as an alpha."""
    if icon:
        return icon_alpha(rng, x, y, radius)
    shape = SHAPES[rng.integers(len(SHAPES))]
    return shape_alpha(shape, x, y, radius, rng.uniform(0, 6) if turn is None else turn)
