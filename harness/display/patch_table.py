"""Tables of patches: test accuracy before, after fine-tuning and after patching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.records.patches import Curve, Patch
from metrics.accuracy import Accuracy


def patch_tables(
    patches: Sequence[Patch], targets: Sequence[str], retained: Sequence[str], random: Mapping[str, float] | None = None
) -> list[Table]:
    """Return tables of test accuracy in percent: zero-shot, fine-tuned, and at the chosen alpha.

    One patch has a row per test set with 95 % Wilson intervals. Several patches have a row each, with means over the targets
    and over the supported tasks.

    Args:
        patches: the patches of a run.
        targets: names of the targets.
        retained: names of the supported tasks.
        random: the accuracy of random answers by test set, which the table of one patch then shows.
    """
    if not patches:
        return []
    if len(patches) == 1:
        return [_one_patch(patches[0], targets, random or {})]
    table = plain_table(caption=Text("each: before -> fine-tuned -> patched, test accuracy in percent"), caption_justify="left")
    table.add_column("patched task", no_wrap=True)
    for heading in ("alpha", "task", *(["targets"] if targets else []), *(["supported"] if retained else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for patch in patches:
        groups = [patch.of("test", [patch.task])]
        groups += [patch.of("heldout", names) for names in (targets, retained) if names]
        table.add_row(Text(patch.task), alphas(patch.chosen), *map(_means, groups))
    return [table]


def _one_patch(patch: Patch, targets: Sequence[str], random: Mapping[str, float]) -> Table:
    table = plain_table()
    for heading in ("test set", "role"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "n",
        *(["random answers"] if random else []),
        "zero-shot",
        "fine-tuned",
        f"patched (alpha {alphas(patch.chosen)})",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for curve in patch.curves:
        cells = [_interval(curve.before), _interval(curve.fine_tuned), _interval(curve.patched)]
        if random:
            cells.insert(0, f"{random[curve.task]:.1f}" if curve.task in random else "")
        table.add_row(Text(curve.task), patch.role(curve, targets), f"{curve.patched.n:,}", *cells)
    return table


def alphas(point: Sequence[float]) -> str:
    """Return the alphas of a point as text: "0.35", or "0.2 0.4" for one per vector."""
    return " ".join(f"{alpha:.3g}" for alpha in (point if len(set(point)) > 1 else point[:1]))


def _interval(accuracy: Accuracy) -> str:
    low, high = accuracy.interval()
    return f"{accuracy.percent:.1f} [{low:.0f}, {high:.0f}]"


def _means(curves: Sequence[Curve]) -> str:
    means = [
        sum(accuracy.percent for accuracy in accuracies) / len(curves)
        for accuracies in zip(*((c.before, c.fine_tuned, c.patched) for c in curves), strict=True)
    ]
    return " -> ".join(f"{mean:.1f}" for mean in means)
