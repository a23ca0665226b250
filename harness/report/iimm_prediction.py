"""What IIMM before training a task says of what the step then gains and costs (2407.15731)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.records.runs import Run
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import MOST_LINES, OTHERS, legend, looks, panels, short
from harness.report.sections import Method, Section
from harness.report.statistics import fit, mean
from metrics.regression import Line, band

# No chain of models: a row is trained or merged from the initial one, so no step starts at the row before.
NO_CHAIN = (
    *("joint", "paint-joint", "paint-parallel"),
    *("task-arithmetic", "ties", "dare", "model-stock", "magmax", "lines"),
)


class Point(NamedTuple):
    """A task of a method, means over seeds: IIMM on the model before the step, its gain on it and its cost elsewhere."""

    task: str
    iimm: float
    gain: float
    forgetting: float
    n: int


def steps(run: Run) -> list[tuple[float, float, float]]:
    """For each task j: IIMM before training it, gain R[j, j] - R[j-1, j], and the mean drop R[j-1, k] - R[j, k] over all other
    tasks k and held-out domains, in points. NaN where a number is not recorded.
    """
    cells = np.concatenate([run.rows("test", run.tasks), run.rows("heldout", run.heldout)], axis=1)
    iimm = {experience: value for experience, name, value in run.measures if name == "iimm"}
    found = []
    for j in range(len(run.tasks)):
        change = cells[j + 1] - cells[j]
        others = [*change[:j], *change[j + 1 :]]
        found.append((iimm.get(j + 1, np.nan), change[j], -sum(others) / len(others) if others else np.nan))
    return found


def points(method: Method) -> list[Point]:
    """One a task."""
    by_seed = np.array([steps(run) for run in method.runs], dtype=float)
    made = []
    for task, of in zip(method.runs[0].tasks, by_seed.transpose(1, 2, 0), strict=True):
        iimm, gain, lost = (mean(list(values)) for values in of)
        made.append(Point(task, iimm.mean, gain.mean, lost.mean, iimm.n))
    return made


def prediction(section: Section) -> list[Figure | str]:
    """IIMM against gain and IIMM against forgetting, a panel a method with its line; or sentences why not."""
    methods = [m for m in section.methods if m.trains and m.row["strategy"] not in NO_CHAIN]
    if not methods:
        return ["IIMM against gain and forgetting needs a method that trains one task after the other; there is none here."]
    found = {m.label: points(m) for m in methods}
    found = {label: of for label, of in found.items() if any(np.isfinite(p.iimm) for p in of)}
    if not found:
        return ["These runs have no IIMM in measures.csv."]
    apart = [m.label for m in section.methods if m.row["strategy"] in NO_CHAIN]
    left = f" Without {', '.join(apart)}: every row starts anew from the initial model." if apart else ""
    return [
        _figure(section, found, "gain", "IIMM against gain", "gain on the task itself (R[j, j] - R[j-1, j])", left),
        _figure(
            section, found, "forgetting", "IIMM against forgetting",
            "mean drop on all other tasks and held-out domains (R[j-1, k] - R[j, k])", left,
        ),
    ]  # fmt: skip


def _figure(section: Section, found: dict[str, list[Point]], what: str, title: str, meaning: str, left: str) -> Figure | str:
    fits = {label: fit([p.iimm for p in of], [getattr(p, what) for p in of]) for label, of in found.items()}
    shown = [label for label, of in found.items() if any(np.isfinite(getattr(p, what)) for p in of)]
    if not shown:
        return f"{title}: no step has both numbers."
    drawn, look = shown[:MOST_LINES], looks([m.label for m in section.methods], section.references)

    def draw() -> Drawing:
        figure, axes = panels(drawn, height=1.9)
        # Each panel has its method's colour, so the legend has none.
        handles: dict[str, Any] = {"a task": Line2D([], [], color=OTHERS, marker="o", markersize=4, linestyle="none")}
        if any(fits[label] is not None for label in drawn):
            handles["least squares"] = Line2D([], [], color=OTHERS)
            handles["95 % interval of the line"] = Patch(color=OTHERS, alpha=0.3, linewidth=0)
        for axis, label in zip(axes, drawn, strict=True):
            style, of, line = look[label], found[label], fits[label]
            x = np.array([p.iimm for p in of])
            axis.scatter(x, [getattr(p, what) for p in of], s=18, color=style.colour, marker=style.marker)
            axis.axhline(0, linewidth=0.6, color="#808080")
            if line is None:
                continue
            along = np.linspace(np.nanmin(x), np.nanmax(x), 40)
            y, low, high = band(line, along)
            axis.plot(along, y, color=style.colour)
            axis.fill_between(along, low, high, color=style.colour, alpha=0.18, linewidth=0)
            slope = f"{line.slope / 10:+z.1f} per 0.1 [{line.low / 10:+z.1f}, {line.high / 10:+z.1f}]"
            axis.set_title(f"{short(label)}\n{slope}", loc="left", fontsize=8)
        figure.supxlabel("IIMM of the task, before training it", fontsize=9)
        figure.supylabel(f"{what}, points", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [(label, p.task, p.iimm, getattr(p, what), p.n, *_numbers(fits[label])) for label in shown for p in found[label]]
    columns = ("method", "task", "iimm", what, "n", "slope", "slope_low", "slope_high", "intercept", "r2")
    said = "; ".join(_said(label, fits[label]) for label in drawn)
    left += not_drawn(len(shown) - len(drawn), "methods")
    competing = " Classes that arrive compete too, so part of a drop is not forgetting." if section.incremental else ""
    caption = (
        f"A point a task: IIMM on the model before the step, against the {meaning}, in points, means over seeds. Lines are "
        "least squares over tasks with 95 % intervals (Student's t; tasks of one stream are not independent, so take them as a "
        f"rough guide).{competing}{left}"
    )
    return Figure(f"{section.slug}-iimm-{what}", title, caption, f"{said}.", Numbers(columns, rows), draw)


def _numbers(line: Line | None) -> tuple[float, ...]:
    return (line.slope, line.low, line.high, line.intercept, line.r2) if line else (np.nan,) * 5


def _said(label: str, line: Line | None) -> str:
    if line is None:
        return f"{label}: fewer than three tasks with different IIMM, hence no line"
    r2 = "" if line.r2 != line.r2 else f", r squared {line.r2:.2f}"
    return (
        f"{label}: {line.slope / 10:+z.1f} points per 0.1 of IIMM, "
        f"interval {line.low / 10:+z.1f} to {line.high / 10:+z.1f}{r2}, {line.n} tasks"
    )
