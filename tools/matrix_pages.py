"""The accuracy matrix of README.md: its table, its summary numbers and its picture, from the matrix of one run.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = Mapping[str, str]
Table = tuple[list[str], list[list[str]]]


def accuracy_table(rows: Iterable[Row]) -> Table:
    """Return headings and body of the matrix: one row per state of the model, one column per domain.

    The cell of the task that was just trained is bold. The cells of tasks that are not trained yet, which Transfer reads, are
    italic.
    """
    cells = {(row["after"], row["stream"], row["task"]): f"{float(row['accuracy']):.1f}" for row in rows}
    names = list(dict.fromkeys((stream, task) for _, stream, task in cells))
    trained = [task for stream, task in names if stream == "test"]
    headings = ["after", *(task if stream == "test" else f"({task})" for stream, task in names)]
    states = ["zero-shot", *(f"{i} {task}" for i, task in enumerate(trained, 1))]

    def marked(after: int, stream: str, task: str) -> str:
        cell = cells[str(after), stream, task]
        if after == 0 or stream != "test":
            return cell
        place = trained.index(task) + 1
        mark = "**" if place == after else "*" if place > after else ""
        return f"{mark}{cell}{mark}"

    return headings, [[state, *(marked(i, *name) for name in names)] for i, state in enumerate(states)]


def summary_table(rows: Iterable[Row]) -> Table:
    """Return headings and body of the summary numbers of the matrix."""
    from metrics import matrix

    cells = {(row["after"], row["task"]): float(row["accuracy"]) for row in rows if row["stream"] == "test"}
    tasks = list(dict.fromkeys(task for _, task in cells))
    R = [[cells[str(after), task] for task in tasks] for after in range(1, len(tasks) + 1)]
    functions = {"Transfer": matrix.transfer, "Average": matrix.average, "Last": matrix.last, "Forgetting": matrix.forgetting}
    return list(functions), [[f"{function(R):.1f}" for function in functions.values()]]


def draw(run: Path, assets: Path, table: Path) -> None:
    """Write the heat map of a run as ASSETS/matrix-{light,dark}.svg, and copy its accuracies to `table`."""
    from harness.records.runs import read_one
    from harness.report.figure import NO_METADATA
    from harness.report.figure_style import GRID, INK, styled
    from harness.report.heat_map import matrix

    buffer = io.StringIO()
    assets.mkdir(exist_ok=True)
    with styled():
        matrix(read_one(run / "run.json"), "matrix", "zscl").draw().savefig(
            buffer, format="svg", transparent=True, metadata=NO_METADATA
        )
    for name, ink, line in (("light", "#1f2328", "#d1d9e0"), ("dark", "#f0f6fc", "#3d444d")):
        picture = buffer.getvalue().replace(INK, ink).replace(GRID, line).replace("DejaVu Sans", "Helvetica, Arial")
        (assets / f"matrix-{name}.svg").write_text(picture, encoding="utf-8")
    shutil.copy(run / "accuracy.csv", table)
