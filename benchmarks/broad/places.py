"""Tasks about places: the part of the picture in which something is."""

from __future__ import annotations

import numpy as np

from benchmarks.mini import render
from benchmarks.mini.domain_table import SHAPES
from benchmarks.mini.shapes import shape_alpha


def position(label: int, rng: np.random.Generator, other_style: bool) -> np.ndarray:
    """Draw one small shape in cell `label` of a three by three grid, counted by rows."""
    ground, ink = render.contrasting(rng, 70)
    picture = render.gradient(rng, ground, ground + rng.uniform(-30, 30, 3))
    row, column = divmod(label, 3)
    x, y = (8 + 16 * np.array([column, row])) + rng.uniform(-2.5, 2.5, 2)
    shape = SHAPES[rng.integers(len(SHAPES))]
    alpha = shape_alpha(shape, x, y, rng.uniform(3.5, 6), rng.uniform(0, 6))
    return render.finish(render.grain(render.paint(picture, ink, alpha), rng, 8))
