"""Figures of case studies: the matrix of broad transfer, and PAINT's main table."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure as Drawing

from harness.records.paint_table import STATES, main_table
from harness.records.transfer import effects
from harness.report.figure import Figure, Numbers
from harness.report.figure_style import WIDTH, legend, looks, short
from harness.report.sections import Method, Section

MOST_NAMED = 12
MARK = {"helps": "+", "hurts": "-", "no effect shown": ""}


def transfer(slug: str, method: Method) -> Figure | None:
    """Return the change of test accuracy on each task (column) by a patch on each task (row), as a heat map.

    Args:
        slug: name for files and anchors.
        method: a method.

    Returns:
        The figure, or None for a method without patches of single tasks and for records that cannot tell.
    """
    every = effects(method.runs)
    if not every:
        return None
    names = list(method.runs[0].tasks)
    values = np.full((len(names), len(names)), np.nan)
    for effect in every:
        values[names.index(effect.patched_task), names.index(effect.test)] = effect.change

    def draw() -> Drawing:
        side = max(3.2, min(30, 0.42 * len(names) + 1.6))
        figure = Drawing(figsize=(side + 0.6, side), layout="constrained")
        axis = figure.subplots()
        axis.grid(False)
        norm = CenteredNorm(halfrange=max(1.0, float(np.nanmax(np.abs(values)))))
        image = axis.imshow(values, cmap="PuOr_r", norm=norm, aspect="auto")
        figure.colorbar(image, label="change, points")
        axis.set_xticks(range(len(names)), [short(n) for n in names], rotation=45, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(names)), [short(n) for n in names])
        axis.set_xlabel("tested")
        axis.set_ylabel("patched")
        for effect in every if len(names) <= 30 else ():
            place = names.index(effect.test), names.index(effect.patched_task)
            red, green, blue, _ = matplotlib.colormaps["PuOr_r"](norm(effect.change))
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
            shown = effect.verdict != "no effect shown"
            axis.text(
                *place, f"{effect.change:z.0f}{'*' * shown}", ha="center", va="center", fontsize=7,
                fontweight="bold" if shown else "normal", color="white" if dark else "black",
            )  # fmt: skip
        return figure

    rows = [(*e[:2], e.verdict, int(e.halves), *e[3:]) for e in every]
    named = {word: [e for e in every if e.verdict == word] for word in ("helps", "hurts")}
    caption = (
        "Change of test accuracy in points by a patch on the task of the row, mean over seeds "
        f"(n = {len(method.runs)}), at the alpha that validation images chose. A star marks a change that is shown at a false "
        f"discovery rate of 5 % over all {len(every)} pairs: {len(named['helps'])} help and {len(named['hurts'])} hurt. "
        "Cells of tasks with a common class are empty. The intervals in the data cover test images and seeds."
    )
    listed = [
        f"{word}: {', '.join(f'{e.patched_task} on {e.test} {e.change:+z.1f}' for e in each[:MOST_NAMED]) or 'no pair'}"
        for word, each in named.items()
    ]
    columns = (
        *("patched", "tested", "verdict", "halves", "zero_shot", "fine_tuned", "patched_accuracy", "change", "low", "high"),
        *("p", "p_adjusted", "n", "seeds"),
    )
    title = f"Transfer to tasks without a common class, {method.label}"
    return Figure(slug, title, caption, f"{'; '.join(listed)}.", Numbers(columns, rows), draw)


def paint_table(section: Section) -> Figure | None:
    """Return PAINT's main table: supported against patching accuracy of each way of patching, with the table as its data.

    It is None unless the section has single-task patches of several tasks and another way of patching.
    """
    methods = {m.label: m.runs for m in section.measured}
    rows = main_table(methods)
    strategies = {methods[row.method][0].identity["strategy"] for row in rows}
    if "paint-single" not in strategies or len(strategies) < 2:
        return None
    tasks = {row.method: row.raw for row in rows if row.test_sets == "tasks"}
    supported = {row.method: row.raw for row in rows if row.test_sets == "supported"}
    drawn = [label for label in tasks if label in supported]
    look = looks(list(tasks))

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 3.6), layout="constrained")
        axis = figure.subplots()
        handles: dict[str, Any] = {}
        for label in drawn:
            style = look[label]
            for state, x, y in zip(STATES, supported[label], tasks[label], strict=True):
                if not (x.n and y.n) or (state == "zero_shot" and "zero-shot" in handles):
                    continue
                name = {"zero_shot": "zero-shot", "fine_tuned": f"{label}, fine-tuned", "patched": label}[state]
                [handles[name]] = axis.plot(
                    x.mean, y.mean, linestyle="", marker="x" if state == "zero_shot" else style.marker, markersize=7,
                    color=style.colour if state != "zero_shot" else "#8a8d91",
                    markerfacecolor="none" if state == "fine_tuned" else None,
                )  # fmt: skip
        axis.margins(0.12)
        axis.set_xlabel("accuracy on supported tasks, %")
        axis.set_ylabel("accuracy on patching tasks, %")
        legend(figure, list(handles.values()), list(handles))
        return figure

    data = [
        (row.test_sets, row.method, *(part for value in (*row.raw, *row.relative) for part in value[:2]), row.seeds)
        for row in rows
    ]
    parts = [f"{prefix}{state}" for prefix in ("", "relative_") for state in STATES]
    columns = ("test_sets", "method", *(f"{part}{end}" for part in parts for end in ("", "_sd")), "seeds")
    caption = (
        "Mean accuracy on the patching tasks against that on the supported tasks, means over seeds. Single-task patching has a "
        "model per task, tested on this task and on the supported tasks. The other ways have one model for all tasks. Open "
        "markers are fine-tuned models without a patch. Sequential patching depends on the order of the tasks, and one order "
        "is one draw. In the data, relative accuracy is in percent of the model fine-tuned on the task only (patching tasks) "
        "or of zero-shot accuracy (supported tasks)."
    )
    description = "; ".join(
        f"{label}: {tasks[label][2].mean:.1f} on tasks, {supported[label][2].mean:.1f} on supported" for label in drawn
    )
    return Figure(f"{section.slug}-paint", "Ways of patching", caption, f"{description}.", Numbers(columns, data), draw)
