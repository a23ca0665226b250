"""The plan of a grid on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.display.plain_table import plain_table
from harness.display.plan_table import duration, size
from harness.display.screen import Screen


def show_grid_plan(kinds: Sequence[tuple[str, int, Mapping[str, Any]]], screen: Screen) -> None:
    """Print a row per kind of run, and the sums over all runs.

    Args:
        kinds: the name of a kind, the number of its runs, and the plan of one (`harness.plan.plan.Plan.document`).
        screen: where the table is shown.
    """
    table = plain_table("the grid, planned")
    for heading in ("runs", "number", "updates", "time of one", "time of all", "peak memory", "checkpoints of all"):
        table.add_column(heading, justify="left" if heading == "runs" else "right", no_wrap=heading != "runs")
    for name, number, plan in kinds:
        seconds, kept = plan["seconds"]["total"], plan["disk"]["kept"]
        updates, peak = plan["counts"]["updates"], plan["memory"]["peak"]
        cells = (f"{number}", f"{updates:,}", duration(seconds), duration(number * seconds), size(peak), size(number * kept))
        table.add_row(name, *cells)
    screen.show(table)
    total = sum(number * plan["seconds"]["total"] for _, number, plan in kinds)
    kept = sum(number * plan["disk"]["kept"] for _, number, plan in kinds)
    cache = max((plan["disk"]["cached_pixels"] for _, _, plan in kinds), default=0)
    screen.say(
        f"in all {duration(total)} one after the other, {size(kept)} of checkpoints and {size(cache)} of decoded images."
    )
    for note in dict.fromkeys(note for _, _, plan in kinds for note in plan["notes"]):
        screen.say(f"note: {note}", style="yellow")
