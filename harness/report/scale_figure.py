"""The figure of models of several sizes: what patches keep, and how alike the unpatched and the fine-tuned model are."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import NullLocator

from harness.records.scale import over_seeds, sizes
from harness.report.figure import Figure, Numbers
from harness.report.figure_style import COLOURS, MARKERS, legend, panels
from harness.report.sections import Section

PANELS = {
    "kept, %": ("gain_kept", "supported_kept"),
    "CKA": ("cka", "cka_supported"),
    "cosine of weights": ("weight_cosine",),
}
"""Values by panel, the one on the patched task first."""
SERIES = ("patched task", "supported tasks")


def scale(section: Section) -> Figure | None:
    """Return the values by number of parameters, means over tasks and seeds with 95 % t intervals over seeds.

    It is None unless the section has patches by models of at least two sizes that can be compared (`harness.records.scale`).
    """
    models = sizes([run for method in section.measured for run in method.runs])
    if len({size.parameters for size in models}) < 2:
        return None
    means = [over_seeds(size) for size in models]
    x = [size.parameters for size in models]

    def draw() -> Drawing:
        figure, axes = panels(list(PANELS), columns=3, sharex=True, sharey=False)
        handles: dict[str, Any] = {}
        for axis, names in zip(axes, PANELS.values(), strict=True):
            axis.set_xscale("log")
            for i, name in enumerate(names):
                values = [each[name] for each in means]
                reach = [
                    [v.mean - v.low if v.n > 1 else 0.0 for v in values],
                    [v.high - v.mean if v.n > 1 else 0.0 for v in values],
                ]
                handles[SERIES[i]] = axis.errorbar(
                    x, [v.mean for v in values], yerr=reach, color=COLOURS[i], marker=MARKERS[i], markersize=4, capsize=2
                )
            axis.set_xticks(x, [size.label.replace(" ", "") for size in models])
            axis.xaxis.set_minor_locator(NullLocator())
            axis.margins(x=0.15)
        figure.supxlabel("parameters", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [
        (size.model, size.parameters, name, value.mean, value.low, value.high, value.n)
        for size, each in zip(models, means, strict=True)
        for name, value in each.items()
    ]
    described = [
        f"{size.label}: "
        + ", ".join(f"{name} {each[name].mean:.4g}" for names in PANELS.values() for name in names if each[name].n)
        for size, each in zip(models, means, strict=True)
    ]
    caption = (
        "Patches of single tasks by models of several sizes, means over tasks and seeds with 95 % intervals over seeds. Left: "
        "the gain of the patch in percent of that of fine-tuning, and accuracy on supported tasks in percent of that of the "
        "unpatched model. Middle and right: similarity of the unpatched and the fine-tuned model, of their image features (CKA "
        "without the bias at few images) and of the weights that training changes. Each size is one pretrained model, so the "
        "intervals do not cover another pretraining."
    )
    title = "Patches by size of the model"
    columns = ("model", "parameters", "value", "mean", "low", "high", "seeds")
    return Figure(f"{section.slug}-scale", title, caption, f"{'; '.join(described)}.", Numbers(columns, rows), draw)
