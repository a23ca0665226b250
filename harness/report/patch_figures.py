"""The figure of patches: test accuracy between the weights before a patch and the fine-tuned ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing

from harness.records.patches import Patch, patches
from harness.records.runs import Run
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import COLOURS, GRID, INK, MAX_PANELS, legend, panels
from harness.report.sections import Method, distinct
from metrics.means import Mean, mean

ROLES = {"patched": (COLOURS[0], "-"), "target": (COLOURS[2], "-."), "supported": (COLOURS[1], "--")}
"""Colour and dash of a line by the role of its test sets."""


def patch_curves(slug: str, method: Method) -> Figure | None:
    """Return test accuracy over alpha, one panel per patch: the patched task, the targets and the supported tasks.

    A line is the mean over the test sets of a role and over seeds, with the 95 % t interval over seeds as a band. The data
    has every test set.

    Args:
        slug: name for files and anchors.
        method: a method.

    Returns:
        The figure, or None for a method without curves.
    """
    patched = [(run, patch) for run in method.runs for patch in patches(run.document.get("searches"))]
    if not patched:
        return None
    every = distinct([patch.task for _, patch in patched])
    tasks = every[:MAX_PANELS]
    rows = [
        (patch.task, run.identity["seed"], curve.task, patch.role(curve, run.targets), alpha, cell.correct, cell.n,
         cell.percent, int((alpha,) == patch.chosen[:1] and len(set(patch.chosen)) == 1))
        for run, patch in patched
        for curve in patch.curves
        for alpha, cell in sorted(curve.accuracy.items())
    ]  # fmt: skip

    def draw() -> Drawing:
        figure, axes = panels([str(task) for task in tasks])
        handles: dict[str, Any] = {}
        for axis, task in zip(axes, tasks, strict=True):
            of_task = [(run, patch) for run, patch in patched if patch.task == task]
            for name, (colour, dash) in ROLES.items():
                line = role_line(of_task, name)
                if not line:
                    continue
                x, y = list(line), [value.mean for value in line.values()]
                [handles[name]] = axis.plot(x, y, color=colour, linestyle=dash, linewidth=1.2)
                if all(value.n > 1 for value in line.values()):
                    low, high = ([getattr(value, end) for value in line.values()] for end in ("low", "high"))
                    axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
            for _, patch in of_task:
                if len(set(patch.chosen)) == 1:
                    handles["chosen"] = axis.axvline(patch.chosen[0], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
            axis.grid(True, color=GRID, linewidth=0.4)
        figure.supxlabel("alpha (0: the weights before, 1: fine-tuned)", fontsize=9)
        figure.supylabel("test accuracy, %", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    ends = []
    for task in tasks:
        of_task = [(run, patch) for run, patch in patched if patch.task == task]
        lines = {name: role_line(of_task, name) for name in ROLES}
        values = [f"{name} {line[min(line)].mean:.1f} to {line[max(line)].mean:.1f}" for name, line in lines.items() if line]
        ends.append(f"{task}: {', '.join(values)}")
    caption = (
        "Test accuracy along the way from the weights before training to the fine-tuned ones, mean over test sets of one role "
        f"and over seeds (n = {len(method.runs)}), with the 95 % interval over seeds. A dotted line marks each seed's chosen "
        f"alpha, which validation images decide.{not_drawn(len(every) - len(tasks), 'tasks')}"
    )
    columns = ("task", "seed", "test_set", "role", "alpha", "correct", "n", "accuracy", "chosen")
    title = f"Test accuracy along the patches of {method.label}"
    return Figure(slug, title, caption, f"From alpha 0 to 1: {'; '.join(ends)}.", Numbers(columns, rows), draw)


def role_line(patched: Sequence[tuple[Run, Patch]], name: str) -> dict[float, Mean]:
    """Return the mean accuracy of the test sets of a role by alpha: over the test sets, then over seeds.

    Only alphas that every run has are included: each seed's chosen alpha may be off the grid.
    """
    by_run: list[dict[float, float]] = []
    for run, patch in patched:
        curves = [curve for curve in patch.curves if patch.role(curve, run.targets) == name]
        if curves:
            shared = sorted(set.intersection(*(set(curve.accuracy) for curve in curves)))
            by_run.append({a: sum(curve.accuracy[a].percent for curve in curves) / len(curves) for a in shared})
    if not by_run:
        return {}
    return {alpha: mean([line[alpha] for line in by_run]) for alpha in sorted(set.intersection(*map(set, by_run)))}
