"""Figures of studies: outcomes over IIMM by family, all predictors, and learning against forgetting (docs/study_plan.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.report.figure import Figure, Numbers
from harness.report.figure_style import MAX_PANELS, OTHERS, WIDTH, legend, looks, panels, short
from harness.study.confirmatory import IIMM, line_cells, line_table
from harness.study.exploratory import trade_off
from harness.study.forecast import PREDICTED
from harness.study.predictors import groups, predictors
from metrics.means import fit
from metrics.regression import band
from metrics.study_table import task_means

MAIN = "full"
UNITS = {"gain": "gain, points", "gain_over_error": "gain over the zero-shot error, %", "forgetting": "forgetting, points"}
SLUG = "study"


def study_figures(rows: pd.DataFrame) -> list[Figure]:
    """Return the figures of one or several studies.

    Args:
        rows: table with baselines (`harness.study.predictors.read_studies`).
    """
    tuning = MAIN if MAIN in set(rows.tuning) else str(rows.tuning.iloc[0])
    over_iimm = [over_measure(rows, tuning, outcome) for outcome in PREDICTED] if IIMM in rows.columns else []
    return [*over_iimm, *(forest(rows, str(model), tuning) for model in dict.fromkeys(rows.model)), learning(rows)]


def over_measure(rows: pd.DataFrame, tuning: str, outcome: str, measure: str = IIMM) -> Figure:
    """Return an outcome over a measure, one panel per model, with least-squares lines and their 95 % bands.

    Args:
        rows: table of one or several studies.
        tuning: name of the tuning.
        outcome: name of the outcome.
        measure: column of the measure.
    """
    points = {model: task_means(group, (measure, outcome)).dropna() for model, name, group in groups(rows) if name == tuning}
    cells = {model: line_cells(table, measure, outcome) for model, table in points.items()}
    drawn = list(points)[:MAX_PANELS]
    look = looks(drawn)

    def draw() -> Drawing:
        figure, axes = panels(drawn, height=1.9, sharex=False)
        for axis, model in zip(axes, drawn, strict=True):
            x, y = points[model][measure].to_numpy(float), points[model][outcome].to_numpy(float)
            style, line = look[model], fit(list(x), list(y))
            axis.scatter(x, y, s=16, color=style.colour, marker=style.marker)
            axis.axhline(0, linewidth=0.6, color="#808080")
            if line is not None:
                along = np.linspace(x.min(), x.max(), 40)
                middle, low, high = band(line, along)
                axis.plot(along, middle, color=style.colour)
                axis.fill_between(along, low, high, color=style.colour, alpha=0.18, linewidth=0)
            axis.set_title(f"{short(model)}\n{_r2(cells[model])}", loc="left", fontsize=8)
        figure.supxlabel(f"{measure} of the task, before training it", fontsize=9)
        figure.supylabel(UNITS[outcome], fontsize=9)
        handles: dict[str, Any] = {
            "a task": Line2D([], [], color=OTHERS, marker="o", markersize=4, linestyle="none"),
            "least squares": Line2D([], [], color=OTHERS),
            "95 % interval of the line": Patch(color=OTHERS, alpha=0.3, linewidth=0),
        }
        legend(figure, list(handles.values()), list(handles))
        return figure

    columns = ("model", "tuning", "task", measure, outcome)
    numbers = [(model, tuning, str(task), *map(float, pair)) for model, table in points.items()
               for task, pair in zip(table.index, table.to_numpy(float), strict=True)]  # fmt: skip
    caption = (
        f"Tuning {tuning}. One point per task, means over seeds. Signed R2 with its 95 % interval. Intervals treat tasks as "
        "independent."
    )
    description = "; ".join(f"{model}: {_r2(line)}, {line['n']} tasks" for model, line in cells.items())
    title = f"{measure} against {outcome.replace('_', ' ')}"
    return Figure(
        f"{SLUG}-{measure}-{outcome}".replace("_", "-"), title, caption, f"{description}.", Numbers(columns, numbers), draw
    )


def forest(rows: pd.DataFrame, model: str, tuning: str) -> Figure:
    """Return the signed R2 of every predictor with its 95 % interval, one panel per outcome.

    Args:
        rows: table of one or several studies.
        model: name of the model.
        tuning: name of the tuning.
    """
    selected = rows[(rows.model == model) & (rows.tuning == tuning)]
    lines = line_table(selected, predictors(selected))
    names = [name for name in dict.fromkeys(lines.measure) if lines[lines.measure == name].r2.notna().any()]

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 0.17 * len(names) + 1.1), layout="constrained")
        axes = figure.subplots(1, len(PREDICTED), sharey=True, squeeze=False)[0]
        for axis, outcome in zip(axes, PREDICTED, strict=True):
            _intervals(axis, lines[lines.outcome == outcome].set_index("measure").reindex(names))
            axis.set_title(outcome.replace("_", " "), loc="left")
        axes[0].set_yticks(range(len(names)), [short(name) for name in names], fontsize=7)
        axes[0].invert_yaxis()
        figure.supxlabel("R2 with the sign of the slope", fontsize=9)
        return figure

    columns = ("model", "tuning", "outcome", "predictor", "n", "r2", "low", "high", "p")
    numbers = [(model, tuning, r.outcome, r.measure, r.n, *_nan(r.r2, r.r2_low, r.r2_high, r.p)) for r in lines.itertuples()]
    strongest = [
        f"{outcome.replace('_', ' ')}: {best.measure} {best.r2:+.2f}"
        for outcome, group in lines.groupby("outcome", sort=False)
        if group.r2.notna().any()
        for best in [group.loc[group.r2.abs().idxmax()]]
    ]
    caption = (
        f"{model}, tuning {tuning}: every measure and simple baseline. The 95 % intervals are not corrected for their number. "
        "Exploratory, except for iimm."
    )
    title = f"All predictors of {model}"
    return Figure(
        f"{SLUG}-forest-{_slug(model)}", title, caption, f"Largest: {'; '.join(strongest)}.", Numbers(columns, numbers), draw
    )


def learning(rows: pd.DataFrame) -> Figure:
    """Return the mean gain and the mean change on other tasks of each tuning, one panel per model."""
    means = trade_off(rows)
    models = list(dict.fromkeys(means.model))[:MAX_PANELS]
    look = looks(list(dict.fromkeys(means.tuning)))

    def draw() -> Drawing:
        figure, axes = panels(models, height=2.1)
        for axis, model in zip(axes, models, strict=True):
            for r in means[means.model == model].itertuples():
                style = look[str(r.tuning)]
                errors: dict[str, Any] = {
                    "xerr": [[r.gain - r.gain_low], [r.gain_high - r.gain]],
                    "yerr": [[r.change - r.change_low], [r.change_high - r.change]],
                }
                known: dict[str, Any] = errors if r.gain_low == r.gain_low else {}
                axis.errorbar(r.gain, r.change, color=style.colour, marker=style.marker, linewidth=1, linestyle="none", **known)
            axis.axhline(0, linewidth=0.6, color="#808080")
            axis.axvline(0, linewidth=0.6, color="#808080")
        figure.supxlabel("gain on the task, points", fontsize=9)
        figure.supylabel("change on other tasks, points", fontsize=9)
        legend(
            figure,
            [Line2D([], [], color=style.colour, marker=style.marker, linestyle="none") for style in look.values()],
            list(look),
        )
        return figure

    columns = tuple(map(str, means.columns))
    numbers = [tuple(row) for row in means.itertuples(index=False, name=None)]
    description = "; ".join(f"{r.model}, {r.tuning}: {r.gain:+.1f}, {r.change:+.1f}" for r in means.itertuples())
    caption = "Means over tasks with Student's 95 % intervals. Up and to the right is better."
    title = "Learning against forgetting of the tunings"
    return Figure(f"{SLUG}-learning", title, caption, f"{description}.", Numbers(columns, numbers), draw)


def _intervals(axis: Axes, lines: pd.DataFrame) -> None:
    """Draw one interval per row, IIMM in another colour."""
    axis.axvline(0, linewidth=0.6, color="#808080")
    axis.set_xlim(-1, 1)
    for place, r in enumerate(lines.itertuples()):
        colour = "#d55e00" if r.Index == IIMM else "#0072b2"
        axis.plot([r.r2_low, r.r2_high], [place, place], color=colour, linewidth=1)
        axis.plot([r.r2], [place], color=colour, marker="s", markersize=3)


def _r2(cells: dict[str, Any]) -> str:
    if cells["r2"] != cells["r2"]:
        return "no line"
    interval = f" [{cells['r2_low']:+.2f}, {cells['r2_high']:+.2f}]" if cells["r2_low"] == cells["r2_low"] else ""
    return f"signed R2 {cells['r2']:+.2f}{interval}"


def _nan(*values: float) -> list[float]:
    return [float(value) if value == value else math.nan for value in values]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")[:60] or "model"
