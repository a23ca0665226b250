"""The accuracy matrix as pixels. Imports matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray

from benchmarks.names import SEEN
from harness.records.summary import HasPercent
from harness.report.figure_style import styled
from harness.report.heat_map import drawing, row_names


def matrix_image(
    rows: Mapping[int, Mapping[tuple[str, str], HasPercent]], tasks: Sequence[str], heldout: Sequence[str]
) -> NDArray[np.uint8]:
    """Return the heat map of an accuracy matrix, uint8 [H, W, 3]. Rows that are missing are white, so its size never changes.

    Args:
        rows: `rows[after][stream, task]`.
        tasks: names of the tasks in order.
        heldout: names of the held-out domains.
    """
    columns = [*(("test", name) for name in tasks), *(("heldout", name) for name in heldout)]
    heads = [*tasks, *(f"({name})" for name in heldout)]
    if any(("test", SEEN) in row for row in rows.values()):
        columns, heads = [*columns, ("test", SEEN)], [*heads, SEEN]
    values = np.full((len(tasks) + 1, len(columns)), np.nan)
    for after, row in rows.items():
        values[after] = [row[column].percent if column in row else np.nan for column in columns]
    with styled():
        canvas: Any = FigureCanvasAgg(drawing(values, heads, row_names(tasks)))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
