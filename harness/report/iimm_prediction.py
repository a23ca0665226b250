"""IIMM before training a task, against the gain and forgetting of the training step (2407.15731)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.records.runs import Run
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import MAX_LINES, OTHERS, legend, looks, panels, short
from harness.report.sections import Method, Section
from metrics.means import fit, mean
from metrics.regression import Line, band

# In these methods every row starts from the initial model, so no step starts from the previous row.
NO_CHAIN = (
    *("joint", "paint-single", "paint-joint", "paint-parallel"),
    *("task-arithmetic", "ties", "dare", "model-stock", "magmax", "lines", "opcm"),
)


class Point(NamedTuple):
    """A task of a method, means over seeds: IIMM of the model before the step, gain on the task, forgetting."""

    task: str
    iimm: float
    gain: float
    forgetting: float
    n: int


def steps(run: Run) -> list[tuple[float, float, float]]:
    """Return IIMM, gain and forgetting of the training step of each task j.

    The gain is R[j, j] - R[j-1, j]. Forgetting is the mean of R[j-1, k] - R[j, k] over all other tasks k and held-out domains.
    Both are in points. A number that is not recorded is NaN.
    """
    cells = np.concatenate([run.rows("test", run.tasks), run.rows("heldout", run.heldout)], axis=1)
    iimm = {experience: value for experience, name, value in run.measures if name == "iimm"}
    by_task = []
    for j in range(len(run.tasks)):
        change = cells[j + 1] - cells[j]
        others = [*change[:j], *change[j + 1 :]]
        by_task.append((iimm.get(j + 1, np.nan), change[j], -sum(others) / len(others) if others else np.nan))
    return by_task


def points(method: Method) -> list[Point]:
    """Return one point per task."""
    by_seed = np.array([steps(run) for run in method.runs], dtype=float)
    by_task = []
    for task, numbers in zip(method.runs[0].tasks, by_seed.transpose(1, 2, 0), strict=True):
        iimm, gain, forgetting = (mean(list(values)) for values in numbers)
        by_task.append(Point(task, iimm.mean, gain.mean, forgetting.mean, iimm.n))
    return by_task


def prediction(section: Section) -> list[Figure | str]:
    """Return IIMM against gain and against forgetting, one panel per method, or sentences on why they cannot be drawn."""
    methods = [m for m in section.methods if m.trains and m.row["strategy"] not in NO_CHAIN]
    if not methods:
        return ["IIMM against gain and forgetting needs a method that trains one task after the other."]
    all_points = {m.label: points(m) for m in methods}
    by_method = {label: tasks for label, tasks in all_points.items() if any(np.isfinite(p.iimm) for p in tasks)}
    if not by_method:
        return ["These runs have no IIMM in measures.csv."]
    excluded = [m.label for m in section.methods if m.row["strategy"] in NO_CHAIN]
    note = f" Not included: {', '.join(excluded)}, whose rows all start from the initial model." if excluded else ""
    return [
        _figure(section, by_method, "gain", "IIMM against gain", "gain on the task itself (R[j, j] - R[j-1, j])", note),
        _figure(
            section, by_method, "forgetting", "IIMM against forgetting",
            "mean drop on all other tasks and held-out domains (R[j-1, k] - R[j, k])", note,
        ),
    ]  # fmt: skip


def _figure(
    section: Section, by_method: dict[str, list[Point]], outcome: str, title: str, meaning: str, note: str
) -> Figure | str:
    fits = {label: fit([p.iimm for p in tasks], [getattr(p, outcome) for p in tasks]) for label, tasks in by_method.items()}
    shown = [label for label, tasks in by_method.items() if any(np.isfinite(getattr(p, outcome)) for p in tasks)]
    if not shown:
        return f"{title}: no step has both values."
    drawn, look = shown[:MAX_LINES], looks([m.label for m in section.methods], section.references)

    def draw() -> Drawing:
        figure, axes = panels(drawn, height=1.9)
        # Panels have the colours of their methods, so the legend is grey.
        handles: dict[str, Any] = {"a task": Line2D([], [], color=OTHERS, marker="o", markersize=4, linestyle="none")}
        if any(fits[label] is not None for label in drawn):
            handles["least squares"] = Line2D([], [], color=OTHERS)
            handles["95 % interval of the line"] = Patch(color=OTHERS, alpha=0.3, linewidth=0)
        for axis, label in zip(axes, drawn, strict=True):
            style, tasks, line = look[label], by_method[label], fits[label]
            x = np.array([p.iimm for p in tasks])
            axis.scatter(x, [getattr(p, outcome) for p in tasks], s=18, color=style.colour, marker=style.marker)
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
        figure.supylabel(f"{outcome}, points", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [
        (label, p.task, p.iimm, getattr(p, outcome), p.n, *_numbers(fits[label])) for label in shown for p in by_method[label]
    ]
    columns = ("method", "task", "iimm", outcome, "n", "slope", "slope_low", "slope_high", "intercept", "r2")
    description = "; ".join(_description(label, fits[label]) for label in drawn)
    note += not_drawn(len(shown) - len(drawn), "methods")
    competing = (
        " New classes compete with the old ones, so a part of each drop is not forgetting." if section.incremental else ""
    )
    caption = (
        f"One point per task: IIMM of the model before the step, against the {meaning}, in points, means over "
        "seeds. Lines are least-squares fits over tasks with 95 % intervals (Student's t). They are a rough guide, because the "
        f"tasks of a stream are not independent.{competing}{note}"
    )
    return Figure(f"{section.slug}-iimm-{outcome}", title, caption, f"{description}.", Numbers(columns, rows), draw)


def _numbers(line: Line | None) -> tuple[float, ...]:
    return (line.slope, line.low, line.high, line.intercept, line.r2) if line else (np.nan,) * 5


def _description(label: str, line: Line | None) -> str:
    if line is None:
        return f"{label}: no line, because fewer than three tasks have different IIMM"
    r2 = "" if line.r2 != line.r2 else f", r squared {line.r2:.2f}"
    return (
        f"{label}: {line.slope / 10:+z.1f} points per 0.1 of IIMM, "
        f"interval {line.low / 10:+z.1f} to {line.high / 10:+z.1f}{r2}, {line.n} tasks"
    )
