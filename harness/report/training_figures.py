"""What happened inside the runs of a method: alpha searches and losses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import COLOURS, GRID, INK, MOST_PANELS, legend, panels
from harness.report.sections import Method, Section, distinct

BINS = 200
KINDS = {"patching": ("on the tasks so far", COLOURS[0], "-"), "supported": ("on held-out domains", COLOURS[1], "--")}


def alphas(slug: str, method: Method) -> Figure | str | None:
    """Validation accuracy over alpha, a panel a task, a line a seed; a sentence where alpha was given; None without any."""
    records = [(run.identity["seed"], record) for run in method.runs for record in run.document.get("searches") or []]
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
            return f"{method.label}: alpha was given, not searched."
        said = "; ".join(
            f"{record.get('task')} (seed {seed}): {', '.join(f'{a:.3g}' for a in record.get('chosen') or ())}"
            for seed, record in records
        )
        return f"{method.label}: alpha was set for each task before it was trained. {said}."
    every = distinct([record.get("task") for _, record in records])
    tasks = every[:MOST_PANELS]
    apart = sum(len(set(point)) > 1 for _, record in records for point in record.get("points") or [])

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

    more = f" {apart} points with an alpha for each vector are in the CSV alone." if apart else ""
    more += not_drawn(len(every) - len(tasks), "tasks")
    chosen = "; ".join(
        f"{record.get('task')} (seed {seed}): {', '.join(f'{a:g}' for a in distinct(record.get('chosen') or []))}"
        for seed, record in records
    )
    caption = (
        "Mean validation accuracy along the way from the weights before to the fine-tuned ones, after each task, a line a seed "
        f"(n = {len(method.runs)}); a dot marks the alpha chosen.{more}"
    )
    columns = ("task", "seed", "alphas", "patching", "supported", "chosen")
    title = f"Alpha curves of {method.label}"
    return Figure(slug, title, caption, f"Chosen: {chosen}.", Numbers(columns, rows), draw)


def shared(record: dict[str, Any], kind: str) -> NDArray[np.float64]:
    """Of a search the points whose alphas are all the same, [n, 2]: alpha and accuracy, by alpha."""
    values = record.get(kind) or []
    found = [(p[0], v) for p, v in zip(record.get("points") or [], values, strict=False) if len(set(p)) == 1 and v is not None]
    return np.array(sorted(found), dtype=float).reshape(-1, 2)


def _at(record: dict[str, Any], kind: str, i: int) -> float:
    values = record.get(kind) or []
    return float("nan") if i >= len(values) or values[i] is None else float(values[i])


def losses(section: Section) -> Figure | str:
    """The loss and the method's own terms over the updates, a panel a method; or a sentence why not."""
    found: dict[str, dict[str, Any]] = {}
    trained = [m for m in section.measured if m.trains]
    further = len(trained)
    for m in trained:
        further -= 1
        if of := _terms(m):
            found[m.label] = of
        # Losses take most of a record: those of further methods are not read.
        if len(found) == MOST_PANELS // 2:
            break
    if not found:
        return "There are no losses: nothing was trained, or there is no train.csv."
    drawn = list(found)
    left = f" Not drawn: {further} further methods, whose losses are in their train.csv." if further else ""
    terms = distinct([term for of in found.values() for term in of])

    def draw() -> Drawing:
        figure, axes = panels(drawn, height=1.7, sharey=False, sharex=False)
        handles: dict[str, Any] = {}
        for axis, label in zip(axes, drawn, strict=True):
            for term, (x, y, ends) in found[label].items():
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
        for label, of in found.items()
        for term, (x, y, _) in of.items()
        for a, b in zip(x, y, strict=True)
        if b == b
    ]
    seeds = ", ".join(f"{m.label} n = {len(m.runs)}" for m in section.methods if m.label in drawn)
    caption = (
        "The loss that was minimised and, where the method has some, its terms, over the updates: means over seeds "
        f"({seeds}) and, in long runs, over at most {BINS} stretches of one length. Grey lines are the ends of tasks.{left}"
    )
    said = "; ".join(
        f"{label} {y[0]:.3g} to {y[-1]:.3g}"
        for label in drawn
        for _, y, _ in [found[label].get("loss", next(iter(found[label].values())))]
    )
    numbers = Numbers(("method", "term", "update", "value"), rows)
    return Figure(f"{section.slug}-losses", "Losses", caption, f"From first to last: {said}.", numbers, draw)


def _terms(method: Method) -> dict[str, tuple[NDArray[Any], NDArray[Any], list[int]]]:
    """Of each term the updates (middles of stretches), its means there, and the updates at which tasks end."""
    found = {}
    for term in distinct([term for run in method.runs for term in run.terms]):
        series = [run.terms[term] for run in method.runs if term in run.terms]
        length = min(len(of) for of in series)
        values = np.array([[value for _, value in of[:length]] for of in series])
        after = [number for number, _ in series[0][:length]]
        ends = [i + 1 for i in range(length) if i + 1 == length or after[i + 1] != after[i]]
        edges = np.unique(np.linspace(0, length, min(length, BINS) + 1).round().astype(int))
        x = np.array([(a + 1 + b) / 2 for a, b in pairwise(edges)])
        y = np.array([_mean(values[:, a:b]) for a, b in pairwise(edges)])
        if np.isfinite(y).any():
            found[term] = (x, y, ends)
    return found


def _mean(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
