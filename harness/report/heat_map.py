"""The accuracy matrix of a run as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from benchmarks.names import SEEN
from harness.records.runs import Run
from harness.report.figure import Figure, Numbers
from harness.report.figure_style import short

CAPTION = (
    "Accuracy in percent. Row j is after training task j, row 0 is zero-shot. Columns are tasks, and held-out domains in "
    "parentheses."
)


def columns(run: Run) -> list[tuple[str, str, str]]:
    """Return stream, name and heading of each column of a run's matrix, with held-out domains in parentheses."""
    seen = [("test", SEEN, SEEN)] if any(name == SEEN for _, _, name in run.cells) else []
    return [*(("test", n, n) for n in run.tasks), *(("heldout", n, f"({n})") for n in run.heldout), *seen]


def grid(run: Run) -> NDArray[np.float64]:
    """Return the accuracies of a run, [T + 1, columns] in percent. Row 0 is zero-shot, and a missing value is NaN."""
    return np.concatenate([run.rows(stream, [name]) for stream, name, _ in columns(run)], axis=1)


def row_names(tasks: Sequence[str]) -> list[str]:
    """Return the headings of the rows of a matrix."""
    return ["zero-shot", *(f"{i} {task}" for i, task in enumerate(tasks, start=1))]


def drawing(values: NDArray[np.float64], heads: Sequence[str], names: Sequence[str]) -> Drawing:
    """Draw an accuracy matrix.

    Args:
        values: [rows, columns] in percent. A missing value is NaN and stays white.
        heads: headings of the columns.
        names: headings of the rows.
    """
    size = (max(3.0, min(30, 0.55 * len(heads) + 1.8)), max(1.6, min(30, 0.3 * len(names) + 1.4)))
    figure = Drawing(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.grid(False)
    image = axis.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    figure.colorbar(image, label="accuracy, %")
    axis.set_xticks(range(len(heads)), [short(head) for head in heads], rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), [short(n) for n in names])
    axis.axhline(0.5, color="white", linewidth=2)
    for (j, i), value in np.ndenumerate(values) if values.size <= 400 else ():
        if value == value:
            axis.text(i, j, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if value < 46 else "black")
    return figure


def matrix(run: Run, slug: str, label: str) -> Figure:
    """Return the accuracy matrix as a heat map. The page shows it as a table in the same colours.

    Args:
        run: run.
        slug: name for files and anchors.
        label: name of the method and seed.
    """
    values, heads = grid(run), columns(run)
    names = row_names(run.tasks)
    rows = [
        (j, stream, name, float(values[j, i]))
        for j in range(len(names))
        for i, (stream, name, _) in enumerate(heads)
        if values[j, i] == values[j, i]
    ]
    return Figure(
        slug,
        f"Accuracy matrix of {label}",
        CAPTION,
        "",
        Numbers(("after", "stream", "task", "accuracy"), rows),
        lambda: drawing(values, [head for *_, head in heads], names),
    )


def shades(count: int) -> Sequence[str]:
    """Return `count` colours from 0 to 100 percent, from cividis: even in lightness and safe for colour-blind readers."""
    return [to_hex(matplotlib.colormaps["cividis"](i / (count - 1))) for i in range(count)]
