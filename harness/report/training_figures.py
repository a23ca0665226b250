"""Figures of training: alpha searches and losses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import COLOURS, GRID, INK, MAX_PANELS, legend, panels
from harness.report.sections import Method, Section, distinct

BINS = 200
Series = tuple[NDArray[Any], NDArray[Any], list[int]]
"""Updates (interval centres), mean values, and the updates at which tasks end."""
KINDS = {"patching": ("on the tasks so far", COLOURS[0], "-"), "supported": ("on held-out domains", COLOURS[1], "--")}


def alphas(slug: str, method: Method) -> Figure | str | None:
    """Return validation accuracy over alpha, one panel per task and one line per seed.

    Args:
        slug: name for files and anchors.
        method: method.

    Returns:
        The figure, a sentence if alpha was not searched, or None for a method without alpha.
    """
    records = [
        (run.identity["seed"], record)
        for run in method.runs
        for record in run.document.get("searches") or []
        if "passes" not in record
    ]
    if not records:
        return None
    rows = [
        (record.get("task"), seed, " ".join(f"{a:g}" for a in point), _at(record, "patching", i), _at(record, "supported", i),
         int(point == record.get("chosen")))
        for seed, record in records
        for i, point in enumerate(record.get("points") or [])
    ]  # fmt: skip
    if not rows:
        if len({tuple(record.get("chosen") or ()) for _, record in records}) < 2:
            return f"{method.label}: alpha was fixed, not searched."
        alphas_by_task = "; ".join(
            f"{record.get('task')} (seed {seed}): {', '.join(f'{a:.3g}' for a in record.get('chosen') or ())}"
            for seed, record in records
        )
        return f"{method.label}: alpha was set for each task before training it. {alphas_by_task}."
    every = distinct([record.get("task") for _, record in records])
    tasks = every[:MAX_PANELS]
    separate = sum(len(set(point)) > 1 for _, record in records for point in record.get("points") or [])

    def draw() -> Drawing:
        figure, axes = panels([str(task) for task in tasks])
        handles: dict[str, Any] = {}
        for axis, task in zip(axes, tasks, strict=True):
            for record in (record for _, record in records if record.get("task") == task):
                for kind, (label, colour, dash) in KINDS.items():
                    line = shared(record, kind)
                    if not len(line):
                        continue
                    [handles[label]] = axis.plot(line[:, 0], line[:, 1], color=colour, linestyle=dash, linewidth=1.2)
                    at = line[[len(set(record["chosen"])) == 1 and a == record["chosen"][0] for a in line[:, 0]]]
                    handles["chosen"] = axis.scatter(at[:, 0], at[:, 1], color=INK, marker="o", s=16, zorder=3)
        figure.supxlabel("alpha (0: the weights before, 1: fine-tuned)", fontsize=9)
        figure.supylabel("validation accuracy, %", fontsize=9)
        names = [name for name in (*(label for label, *_ in KINDS.values()), "chosen") if name in handles]
        legend(figure, [handles[name] for name in names], names)
        return figure

    more = f" {separate} points with a different alpha per vector are only in the CSV file." if separate else ""
    more += not_drawn(len(every) - len(tasks), "tasks")
    chosen = "; ".join(
        f"{record.get('task')} (seed {seed}): {', '.join(f'{a:g}' for a in distinct(record.get('chosen') or []))}"
        for seed, record in records
    )
    caption = (
        "Mean validation accuracy between the weights before training and the fine-tuned weights, after each task, one line "
        f"per seed (n = {len(method.runs)}). A dot marks the chosen alpha.{more}"
    )
    columns = ("task", "seed", "alphas", "patching", "supported", "chosen")
    title = f"Alpha curves of {method.label}"
    return Figure(slug, title, caption, f"Chosen: {chosen}.", Numbers(columns, rows), draw)


def shared(record: dict[str, Any], kind: str) -> NDArray[np.float64]:
    """Return the points of a search at which all alphas are equal: alpha and accuracy, [n, 2], sorted by alpha."""
    values = record.get(kind) or []
    points = [(p[0], v) for p, v in zip(record.get("points") or [], values, strict=False) if len(set(p)) == 1 and v is not None]
    return np.array(sorted(points), dtype=float).reshape(-1, 2)


def _at(record: dict[str, Any], kind: str, i: int) -> float:
    values = record.get(kind) or []
    return float("nan") if i >= len(values) or values[i] is None else float(values[i])


def losses(section: Section) -> Figure | str:
    """Return the loss and its terms over the updates, one panel per method, or a sentence on why they cannot be drawn."""
    by_method: dict[str, dict[str, Series]] = {}
    trained = [m for m in section.measured if m.trains]
    further = len(trained)
    for m in trained:
        further -= 1
        if series := _terms(m):
            by_method[m.label] = series
        # Losses are the largest part of a record, so those of further methods are not read.
        if len(by_method) == MAX_PANELS // 2:
            break
    if not by_method:
        return "There are no losses, because nothing was trained or train.csv is missing."
    drawn = list(by_method)
    note = f" {further} further methods are not drawn. Their losses are in their train.csv." if further else ""
    terms = distinct([term for series in by_method.values() for term in series])

    def draw() -> Drawing:
        figure, axes = panels(drawn, height=1.7, sharey=False, sharex=False)
        handles: dict[str, Any] = {}
        for axis, label in zip(axes, drawn, strict=True):
            for term, (x, y, ends) in by_method[label].items():
                i = terms.index(term)
                colour, width = (INK, 1.4) if term == "loss" else (COLOURS[(i - 1) % len(COLOURS)], 0.9)
                dash = "-" if i <= len(COLOURS) else "--"
                [handles[term]] = axis.plot(x, y, linestyle=dash, color=colour, linewidth=width, zorder=2 + (term == "loss"))
                for end in ends[:-1] if term == "loss" and len(ends) <= 30 else ():
                    axis.axvline(end, color=GRID, linewidth=0.8, zorder=0)
        figure.supxlabel("update, all tasks in a row", fontsize=9)
        figure.supylabel("loss", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [
        (label, term, float(a), float(b))
        for label, series in by_method.items()
        for term, (x, y, _) in series.items()
        for a, b in zip(x, y, strict=True)
        if b == b
    ]
    seeds = ", ".join(f"{m.label} n = {len(m.runs)}" for m in section.methods if m.label in drawn)
    caption = (
        f"The training loss and its terms over the updates. Values are means over seeds ({seeds}). Long runs are averaged over "
        f"at most {BINS} intervals of equal length. Grey lines mark the ends of tasks.{note}"
    )
    description = "; ".join(
        f"{label} {y[0]:.3g} to {y[-1]:.3g}"
        for label in drawn
        for _, y, _ in [by_method[label].get("loss", next(iter(by_method[label].values())))]
    )
    numbers = Numbers(("method", "term", "update", "value"), rows)
    return Figure(f"{section.slug}-losses", "Losses", caption, f"From first to last: {description}.", numbers, draw)


def _terms(method: Method) -> dict[str, Series]:
    """Return the series of each term of the loss."""
    by_term = {}
    for term in distinct([term for run in method.runs for term in run.terms]):
        series = [run.terms[term] for run in method.runs if term in run.terms]
        length = min(map(len, series))
        values = np.array([[value for _, value in run[:length]] for run in series])
        after = [number for number, _ in series[0][:length]]
        ends = [i + 1 for i in range(length) if i + 1 == length or after[i + 1] != after[i]]
        edges = np.unique(np.linspace(0, length, min(length, BINS) + 1).round().astype(int))
        x = np.array([(a + 1 + b) / 2 for a, b in pairwise(edges)])
        y = np.array([_mean(values[:, a:b]) for a, b in pairwise(edges)])
        if np.isfinite(y).any():
            by_term[term] = (x, y, ends)
    return by_term


def _mean(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
