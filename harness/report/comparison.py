"""Methods side by side: learning against forgetting, accuracy over time, cost. Means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchmarks.names import SEEN
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import (
    GRID,
    MOST_BARS,
    MOST_LINES,
    MOST_NAMED,
    MOST_PANELS,
    OTHERS,
    WIDTH,
    legend,
    looks,
    panels,
    short,
)
from harness.report.sections import Method, Section
from harness.report.statistics import mean

# What stands beside the seconds in the numbers of `cost`.
BESIDE = ("images_per_second", "peak_memory_mb", "trainable_params")


def learning(section: Section) -> Figure | str:
    """Learning against forgetting, a point a method, with intervals; or a sentence why not."""
    estimates = [
        (m, mean([r.forgetting() for r in m.runs]), mean([r.learning() for r in m.runs])) for m in section.methods
    ]  # fmt: skip
    shown = [(m, f, g) for m, f, g in estimates if f.n and g.n]
    if not shown:
        return "Learning against forgetting needs at least two tasks and a whole accuracy matrix; there is none here."
    look = looks([m.label for m in section.methods], section.references)
    several = [m for m, f, g in shown if f.n > 1 and not m.derived]
    named = shown[:MOST_NAMED] + [of for of in shown[MOST_NAMED:] if not of[0].trains]
    others = [of for of in shown[MOST_NAMED:] if of[0].trains]

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
    said = "; ".join(f"{m.label}: learning {g.mean:z.1f}, forgetting {f.mean:z.1f} (n = {min(f.n, g.n)})" for m, f, g in named)
    bars = "Bars are 95 % intervals of Student's t over seeds. " if several else "One seed each, hence no intervals. "
    if several and len(several) < len([m for m, _, _ in shown if not m.derived]):
        bars += "Methods with one seed have none. "
    caption = (
        "Learning is the gain on a task from training it, over the initial model (mean of R[i, i] - R[0, i]); Forgetting the "
        f"drop from a task's best to the end. {bars}"
    ).strip()
    return Figure(f"{section.slug}-learning", "Learning against forgetting", caption, f"{said}.", Numbers(columns, rows), draw)


def curves(section: Section) -> Figure | str:
    """Accuracy on each task after each step, a panel a task, a line a method; or a sentence why not."""
    seen = [("test", SEEN, "all classes so far")] if section.incremental else []
    of = [*seen, *(("test", n, n) for n in section.tasks), *(("heldout", n, f"({n})") for n in section.heldout)]
    lines = {(m.label, *place): line for m in section.methods for place, line in _lines(m, [part[:2] for part in of]).items()}
    if not lines:
        return "There is no accuracy.csv in these runs, so no curves can be drawn."
    of = [part for part in of if any(key[1:] == part[:2] for key in lines)]
    methods = section.methods[:MOST_LINES]
    methods += tuple(m for m in section.methods[MOST_LINES:] if not m.trains)
    drawn = [of[i] for i in np.unique(np.linspace(0, len(of) - 1, min(len(of), MOST_PANELS)).round().astype(int))]
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
        "Accuracy in percent after 0 (zero-shot), 1, ... tasks, one panel a task, one line a method: means over seeds, shaded "
        "one sample standard deviation either side. A grey bar marks the step that trains the task; held-out domains are in "
        f"parentheses. Seeds: {', '.join(f'{m.label} n = {len(m.runs)}' for m in methods if not m.derived)}."
        + not_drawn(len(section.methods) - len(methods), "methods")
        + not_drawn(len(of) - len(drawn), "tasks")
    )
    columns = ("method", "stream", "task", "after", "accuracy", "sd", "n")
    said = "; ".join(_ends(lines, m.label, drawn) for m in methods)
    return Figure(f"{section.slug}-curves", "Accuracy over time", caption, f"{said}.", Numbers(columns, rows), draw)


def _ends(lines: Mapping[tuple[str, str, str], Any], label: str, of: Sequence[tuple[str, str, str]]) -> str:
    """Where a method's lines begin and end, in words."""
    found = [(title, lines[label, stream, name][0]) for stream, name, title in of if (label, stream, name) in lines]
    values = [(title, line[np.isfinite(line)]) for title, line in found]
    return f"{label}: " + ", ".join(f"{title} from {v[0]:.0f} to {v[-1]:.0f}" for title, v in values)


Line = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Mean, sample standard deviation and number of seeds after 0..T."""


def _lines(method: Method, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Line]:
    """The lines of a method at the places (stream, task) of which it has any accuracy."""
    rows = range(len(method.runs[0].tasks) + 1)
    values = np.array([[[run.cells.get((j, *place), np.nan) for j in rows] for place in places] for run in method.runs])
    known = np.isfinite(values)
    n = known.sum(axis=0)
    centre = np.where(known, values, 0).sum(axis=0) / np.where(n, n, np.nan)
    squares = np.where(known, (values - centre) ** 2, 0).sum(axis=0)
    sd = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
    return {place: (centre[i], sd[i], n[i]) for i, place in enumerate(places) if n[i].any()}


def cost(section: Section) -> Figure | str:
    """Seconds of training and evaluation, a bar a method; or a sentence why not."""
    kinds = ("train_seconds", "eval_seconds")
    every = [m for m in section.measured if m.row.get(kinds[0]) is not None]
    if not every:
        return "These runs have recorded no times."
    shown = every[:MOST_BARS]
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

    every_second = seconds + [[mean([_recorded(r, kind) for r in m.runs]) for kind in kinds] for m in every[MOST_BARS:]]
    rows = [
        (m.label, *(v for e in of for v in (e.mean, e.sd)), of[0].n, *(m.row.get(k) for k in BESIDE))
        for m, of in zip(every, every_second, strict=True)
    ]
    columns = ("method", "train_seconds", "train_seconds_sd", "eval_seconds", "eval_seconds_sd", "n", *BESIDE)
    machines = sorted({str(run.document.get("device")) for m in every for run in m.runs})
    where = f"Measured on: {machines[0]}." if len(machines) == 1 else f"Not comparable: on {', '.join(machines)}."
    said = "; ".join(f"{m.label} {t.mean:.0f} + {e.mean:.0f} s" for m, (t, e) in zip(shown, seconds, strict=True))
    caption = f"Seconds of training and of evaluation, means over seeds. {where}{not_drawn(len(every) - len(shown), 'methods')}"
    return Figure(f"{section.slug}-cost", "Cost", caption, f"{said}.", Numbers(columns, rows), draw)


def _recorded(run: Any, name: str) -> float:
    value = run.document.get(name)
    return float("nan") if value is None else float(value)
