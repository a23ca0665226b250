"""Comparison of methods: learning against forgetting, accuracy over time, and cost. Means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchmarks.names import SEEN
from harness.records.runs import Run
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import (
    GRID,
    MAX_BARS,
    MAX_LINES,
    MAX_NAMED,
    MAX_PANELS,
    OTHERS,
    WIDTH,
    legend,
    looks,
    panels,
    short,
)
from harness.report.sections import Method, Section
from metrics.means import mean

COST_COLUMNS = ("images_per_second", "peak_memory_mb", "trainable_params")

Line = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Mean, sample standard deviation and number of seeds after 0..T."""


def learning(section: Section) -> Figure | str:
    """Return learning against forgetting, one point per method with intervals, or a sentence on why it cannot be drawn."""
    estimates = [
        (m, mean([r.forgetting() for r in m.runs]), mean([r.learning() for r in m.runs])) for m in section.methods
    ]  # fmt: skip
    shown = [(m, f, g) for m, f, g in estimates if f.n and g.n]
    if not shown:
        return "Learning against forgetting needs at least two tasks and a complete accuracy matrix."
    look = looks([m.label for m in section.methods], section.references)
    several = [m for m, f, g in shown if f.n > 1 and not m.derived]
    named = shown[:MAX_NAMED] + [point for point in shown[MAX_NAMED:] if not point[0].trains]
    others = [point for point in shown[MAX_NAMED:] if point[0].trains]

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 3.9), layout="constrained")
        axis = figure.subplots()
        points = []
        names = [m.label for m, _, _ in named]
        for m, f, g in named:
            style, bars = look[m.label], f.n > 1 and g.n > 1
            container = axis.errorbar(
                f.mean,
                g.mean,
                xerr=[[f.mean - f.low], [f.high - f.mean]] if bars else None,
                yerr=[[g.mean - g.low], [g.high - g.mean]] if bars else None,
                fmt=style.marker,
                color=style.colour,
                markersize=7,
                capsize=2,
                elinewidth=1,
            )
            points.append(container[0])
        if others:
            places = np.array([(f.mean, g.mean) for _, f, g in others])
            points.append(axis.scatter(places[:, 0], places[:, 1], s=8, color=OTHERS, zorder=1))
            names.append(f"{len(others)} further methods")
        else:
            for m, f, g in named:
                axis.annotate(short(m.label), (f.mean, g.mean), xytext=(6, 5), textcoords="offset points", fontsize=8)
        axis.margins(0.12)
        axis.set_xlabel("Forgetting, points (left is better)")
        axis.set_ylabel("Learning, points (up is better)")
        legend(figure, points, names)
        return figure

    rows = [
        (m.label, f.mean, f.sd, f.low, f.high, g.mean, g.sd, g.low, g.high, min(f.n, g.n)) for m, f, g in shown
    ]  # fmt: skip
    parts = ("", "_sd", "_low", "_high")
    columns = ("method", *(f"forgetting{p}" for p in parts), *(f"learning{p}" for p in parts), "n")
    description = "; ".join(
        f"{m.label}: learning {g.mean:z.1f}, forgetting {f.mean:z.1f} (n = {min(f.n, g.n)})" for m, f, g in named
    )
    bars = (
        "Bars are 95 % intervals over seeds (Student's t). "
        if several
        else "Each method has one seed, so there are no intervals. "
    )
    if several and len(several) < len([m for m, _, _ in shown if not m.derived]):
        bars += "Methods with one seed have no bars. "
    caption = (
        "Learning is the gain on a task after training it, from the initial model (mean of R[i, i] - R[0, i]). Forgetting is "
        f"the mean drop of a task from its best accuracy to the end. {bars}"
    ).strip()
    return Figure(
        f"{section.slug}-learning", "Learning against forgetting", caption, f"{description}.", Numbers(columns, rows), draw
    )


def curves(section: Section) -> Figure | str:
    """Return the accuracy on each task after each step, one panel per task and one line per method.

    If it cannot be drawn, a sentence on the reason is returned.
    """
    seen = [("test", SEEN, "all classes so far")] if section.incremental else []
    columns = [*seen, *(("test", n, n) for n in section.tasks), *(("heldout", n, f"({n})") for n in section.heldout)]
    lines = {(m.label, *key): line for m in section.methods for key, line in _lines(m, [c[:2] for c in columns]).items()}
    if not lines:
        return "The curves cannot be drawn, because these runs have no accuracy.csv."
    columns = [column for column in columns if any(key[1:] == column[:2] for key in lines)]
    methods = section.methods[:MAX_LINES]
    methods += tuple(m for m in section.methods[MAX_LINES:] if not m.trains)
    drawn = [columns[i] for i in np.unique(np.linspace(0, len(columns) - 1, min(len(columns), MAX_PANELS)).round().astype(int))]
    look = looks([m.label for m in section.methods], section.references)

    def draw() -> Drawing:
        figure, axes = panels([title for _, _, title in drawn])
        handles: dict[str, Any] = {}
        for axis, (stream, name, _) in zip(axes, drawn, strict=True):
            if stream == "test" and name in section.tasks:
                axis.axvline(section.tasks.index(name) + 1, color=GRID, linewidth=3, zorder=0)
            for m in methods:
                if (m.label, stream, name) not in lines:
                    continue
                centre, sd, _ = lines[m.label, stream, name]
                style = look[m.label]
                mark: Any = {"marker": style.marker, "markersize": 3} if len(centre) <= 16 else {}
                [handles[m.label]] = axis.plot(range(len(centre)), centre, color=style.colour, linestyle=style.dash, **mark)
                axis.fill_between(range(len(centre)), centre - sd, centre + sd, color=style.colour, alpha=0.18, linewidth=0)
        axes[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("after task", fontsize=9)
        figure.supylabel("accuracy, %", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [
        (label, stream, name, j, float(centre[j]), float(sd[j]), int(n[j]))
        for (label, stream, name), (centre, sd, n) in lines.items()
        for j in range(len(centre))
        if n[j]
    ]
    caption = (
        "Accuracy in percent after 0 (zero-shot), 1, ... tasks, with one panel per task and one line per method. Lines are "
        "means over seeds; the shaded area is one sample standard deviation on either side. A grey bar marks the step that "
        "trains the task. Held-out domains are in parentheses. "
        f"Seeds: {', '.join(f'{m.label} n = {len(m.runs)}' for m in methods if not m.derived)}."
        + not_drawn(len(section.methods) - len(methods), "methods")
        + not_drawn(len(columns) - len(drawn), "tasks")
    )
    headings = ("method", "stream", "task", "after", "accuracy", "sd", "n")
    description = "; ".join(_ends(lines, m.label, drawn) for m in methods)
    return Figure(f"{section.slug}-curves", "Accuracy over time", caption, f"{description}.", Numbers(headings, rows), draw)


def _ends(lines: Mapping[tuple[str, str, str], Line], label: str, columns: Sequence[tuple[str, str, str]]) -> str:
    """Return the first and last values of a method's lines, in words."""
    means = [(title, lines[label, stream, name][0]) for stream, name, title in columns if (label, stream, name) in lines]
    values = [(title, line[np.isfinite(line)]) for title, line in means]
    return f"{label}: " + ", ".join(f"{title} from {v[0]:.0f} to {v[-1]:.0f}" for title, v in values)


def _lines(method: Method, columns: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Line]:
    """Return the lines of a method by (stream, task), for those with any accuracy."""
    rows = range(len(method.runs[0].tasks) + 1)
    values = np.array([[[run.cells.get((j, *column), np.nan) for j in rows] for column in columns] for run in method.runs])
    known = np.isfinite(values)
    n = known.sum(axis=0)
    centre = np.where(known, values, 0).sum(axis=0) / np.where(n, n, np.nan)
    squares = np.where(known, (values - centre) ** 2, 0).sum(axis=0)
    sd = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    return {column: (centre[i], sd[i], n[i]) for i, column in enumerate(columns) if n[i].any()}


def cost(section: Section) -> Figure | str:
    """Return the seconds of training and evaluation, one bar per method, or a sentence on why they cannot be drawn."""
    kinds = ("train_seconds", "eval_seconds")
    every = [m for m in section.measured if m.row.get(kinds[0]) is not None]
    if not every:
        return "These runs have no recorded times."
    shown = every[:MAX_BARS]
    seconds = [[mean([_recorded(r, kind) for r in m.runs]) for kind in kinds] for m in shown]

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 0.3 * len(shown) + 1.1), layout="constrained")
        axis = figure.subplots()
        names, left = [short(m.label) for m in shown], np.zeros(len(shown))
        for i, (kind, colour) in enumerate(zip(("training", "evaluation"), ("#0072b2", "#e69f00"), strict=True)):
            width = np.nan_to_num([pair[i].mean for pair in seconds])
            axis.barh(range(len(names)), width, left=left, color=colour, label=kind, height=0.7)
            left += width
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.grid(False, axis="y")
        axis.set_xlabel("seconds")
        legend(figure, *axis.get_legend_handles_labels())
        return figure

    every_second = seconds + [[mean([_recorded(r, kind) for r in m.runs]) for kind in kinds] for m in every[MAX_BARS:]]
    rows = [
        (m.label, *(v for e in pair for v in (e.mean, e.sd)), pair[0].n, *(m.row.get(k) for k in COST_COLUMNS))
        for m, pair in zip(every, every_second, strict=True)
    ]
    columns = ("method", "train_seconds", "train_seconds_sd", "eval_seconds", "eval_seconds_sd", "n", *COST_COLUMNS)
    machines = sorted({str(run.document.get("device")) for m in every for run in m.runs})
    where = (
        f"Measured on: {machines[0]}."
        if len(machines) == 1
        else f"Times are not comparable, because the runs used {', '.join(machines)}."
    )
    description = "; ".join(f"{m.label} {t.mean:.0f} + {e.mean:.0f} s" for m, (t, e) in zip(shown, seconds, strict=True))
    caption = f"Seconds of training and evaluation, means over seeds. {where}{not_drawn(len(every) - len(shown), 'methods')}"
    return Figure(f"{section.slug}-cost", "Cost", caption, f"{description}.", Numbers(columns, rows), draw)


def _recorded(run: Run, name: str) -> float:
    value = run.document.get(name)
    return float("nan") if value is None else float(value)
