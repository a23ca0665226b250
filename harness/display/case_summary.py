"""The end of a case study, after its last run: PAINT's main table, the pairs of tasks with a transfer, gains of tunings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from harness.display.generalisation_table import generalisation_tables
from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.records.generalisation import applies, outcomes
from harness.records.paint_table import STATES, STRATEGIES, Row, main_table
from harness.records.runs import Run, read_one
from harness.records.transfer import PER_TASK, Effect, MeanEffect, effects, mean_effect, whole_domains
from metrics.means import Mean

MOST_PAIRS = 12
"""Pairs that a line names."""
ONE_ORDER = "Sequential patching depends on the order of the tasks, and one order is one draw."


def show_case(benchmark: str, folders: Sequence[Path], screen: Screen) -> None:
    """Print the result of the case studies `paint` (with all four strategies), `transfer-study` and `generalisation`.

    Args:
        benchmark: name of the benchmark.
        folders: folders of the finished runs of the command.
        screen: where it is printed.

    Raises:
        UserError: for a damaged record.
    """
    runs = [read_one(folder / "run.json") for folder in folders]
    by_strategy = {name: [run for run in runs if run.identity["strategy"] == name] for name in STRATEGIES}
    if benchmark == "paint" and all(by_strategy.values()):
        screen.show(paint_table(main_table(by_strategy)))
        screen.say(ONE_ORDER, style="dim")
    if benchmark == "transfer-study" and by_strategy[PER_TASK[0]]:
        for line in transfer_lines(by_strategy[PER_TASK[0]]):
            screen.say(line)
    if benchmark == "generalisation":
        trained = [run for run in runs if applies(run) and run.identity["strategy"] != "zero-shot"]
        names = dict.fromkeys(run.identity["strategy"] for run in trained)
        by_name = {name: outcomes([run for run in trained if run.identity["strategy"] == name]) for name in names}
        for table in generalisation_tables(by_name) if by_name else ():
            screen.show(table)


def paint_table(rows: Sequence[Row]) -> Table:
    """Return PAINT's main table (`harness.records.paint_table`)."""
    seeds = rows[0].seeds if rows else 0
    caption = (
        f"Means over tasks and {seeds} seed{'s' * (seeds != 1)}"
        + (", 95 % intervals over seeds. " if seeds > 1 else ". ")
        + "Relative: tasks in percent of the model fine-tuned on that task only, supported tasks in percent of zero-shot."
    )
    table = plain_table(caption=Text(caption), caption_justify="left")
    for heading in ("accuracy on", "method"):
        table.add_column(heading, no_wrap=True)
    names = [state.replace("_", "-") for state in STATES]
    for heading in (*names, *(f"relative: {name}" for name in names)):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.test_sets, Text(row.method), *map(_interval, (*row.raw, *row.relative)))
    return table


def transfer_lines(runs: Sequence[Run]) -> list[str]:
    """Return sentences on broad transfer: the mean effects, and the pairs that help and that hurt."""
    every = effects(runs)
    if not every:
        return []
    whole, seeds = whole_domains(runs[0]), len(runs)
    of_domains = [(e.patched_task, e.test) for e in every if e.patched_task in whole and e.test in whole]
    of_halves = [(e.patched_task, e.test) for e in every if e.halves]
    lines = [f"transfer to tasks without a common class, in points of test accuracy, {seeds} seed{'s' * (seeds != 1)}:"]
    for title, pairs in (("between domains", of_domains), ("between the halves of a domain", of_halves)):
        if pairs:
            lines.append(f"  mean {title}: {_mean_effect(mean_effect(runs, pairs))}")
    for verdict in ("helps", "hurts"):
        named = sorted((e for e in every if e.verdict == verdict), key=lambda e: -abs(e.change))
        more = f"; and {len(named) - MOST_PAIRS} more" if len(named) > MOST_PAIRS else ""
        listed = "; ".join(map(_effect, named[:MOST_PAIRS]))
        lines.append(f"  {verdict}, {len(named)} of {len(every)} pairs{': ' * bool(named)}{listed}{more}")
    if seeds == 1:
        lines.append("  With one seed the intervals cover other test images, and not other seeds.")
    return lines


def _interval(value: Mean) -> str:
    if value.n < 1:
        return "-"
    return (
        f"{value.mean:.1f}"
        if value.n < 2 or value.low == value.high
        else f"{value.mean:.1f} [{value.low:.1f}, {value.high:.1f}]"
    )


def _mean_effect(value: MeanEffect) -> str:
    interval = f" [{value.low:+z.1f}, {value.high:+z.1f}]" if value.low == value.low else ""
    return f"{value.change:+z.1f}{interval} ({value.pairs} pairs)"


def _effect(effect: Effect) -> str:
    return f"{effect.patched_task} -> {effect.test} {effect.change:+z.1f} [{effect.low:+z.1f}, {effect.high:+z.1f}]"
