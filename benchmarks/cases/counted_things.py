"""Pictures of a number of separate things among stray lines, for the case study `counting`.

The things of a picture differ in shape, size, colour and direction, so that neither the total area of the things nor the size
of one thing nor the brightness gives their number away. In half of the pictures the total area has the same distribution for
every number. In the other half the size of a thing has.

The lines are what there is to learn: the tiny CLIP has seen groups of things in pretraining, but none among lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.mini import render
from benchmarks.mini.render import SIZE
from benchmarks.mini.shapes import shape_alpha

SHAPES = ("circle", "square", "triangle")
"""Shapes of the training pictures."""
NEW_SHAPES = ("cross", "ring", "star")
AREA = (120.0, 320.0)
"""Square pixels of all things together, for things drawn as circles."""
RADIUS = (2.0, 3.2)
"""Pixels."""
LINES = 10
"""The largest number of stray lines."""
_GAP = 1.5
# A triangle reaches 1.2 radii from its centre.
_REACH = 1.2
_TRIES = 200


def picture(count: int, shapes: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Draw `count` separate things of mixed shapes, sizes and colours.

    Args:
        count: number of things, at most 10, for which every picture has room.
        shapes: the shapes that things may have.
        rng: the source of every choice.

    Returns:
        uint8 [3, 48, 48].
    """
    dark = bool(rng.random() < 0.5)
    low, high = (0, 110) if dark else (145, 255)
    canvas = render.gradient(rng, render.colour(rng, low, high), render.colour(rng, low, high))
    for _ in range(rng.integers(LINES + 1)):
        canvas = render.paint(canvas, render.colour(rng), render.line(rng.uniform(0, SIZE, 2), rng.uniform(0, SIZE, 2), 1))
    radii = _radii(count, rng)
    for (x, y), radius in zip(_places(radii, rng), radii, strict=True):
        ink = render.colour(rng, 175) if dark else render.colour(rng, 0, 80)
        shape = shapes[int(rng.integers(len(shapes)))]
        canvas = render.paint(canvas, ink, shape_alpha(shape, x, y, radius, rng.uniform(0, 2 * np.pi)))
    return render.finish(render.grain(canvas, rng, 10))


def _radii(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the radii of the things in pixels, largest first [count]."""
    radii = rng.uniform(0.75, 1.25, count)
    if rng.random() < 0.5:
        radii *= np.sqrt(rng.uniform(*AREA) / (np.pi * (radii**2).sum()))
    else:
        radii *= rng.uniform(*RADIUS)
    ordered: np.ndarray = np.sort(radii)[::-1]
    return ordered


def _places(radii: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return centres [count, 2] such that no two things touch and none is cut off."""
    reach = _REACH * radii
    centres: list[np.ndarray] = []
    tries = 0
    while len(centres) < len(radii):
        own = reach[len(centres)]
        candidate = rng.uniform(own + 1, SIZE - 1 - own, 2)
        if all(np.hypot(*(candidate - c)) > own + r + _GAP for c, r in zip(centres, reach, strict=False)):
            centres.append(candidate)
        tries += 1
        if tries % _TRIES == 0:
            centres.clear()
    return np.array(centres)
