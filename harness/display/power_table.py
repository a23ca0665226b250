"""The power of studies of several sizes, as a table on screen and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from harness.display.plain_table import plain_table
from metrics.power import EFFECTS, LEVEL, USUAL_POWER, Power


def power_heads() -> tuple[str, ...]:
    """Return the headings: tasks, tests, one column per R2, and the smallest R2 that is found."""
    return ("tasks", "tests", *(f"R2 {r2:g}" for r2 in EFFECTS), f"R2 found with {100 * USUAL_POWER:g} %")


def power_rows(powers: Sequence[Power], tests: int) -> list[tuple[str, ...]]:
    """Return two rows per number of tasks: one test, and one of `tests` tests after Holm's correction. Power is in percent."""
    rows = []
    for power in powers:
        rows += [
            (f"{power.n}", "1", *(f"{100 * value:.0f}" for value in power.plain), f"{power.smallest:.2f}"),
            (f"{power.n}", f"{tests}", *(f"{100 * value:.0f}" for value in power.holm), f"{power.smallest_holm:.2f}"),
        ]
    return rows


def power_table(powers: Sequence[Power], tests: int) -> Table:
    """Return the table for the screen."""
    out = plain_table(f"power in percent by the true R2, level {100 * LEVEL:g} %")
    for head in power_heads():
        out.add_column(head, justify="right", no_wrap=True)
    for row in power_rows(powers, tests):
        out.add_row(*row)
    return out


def power_note(tests: int) -> str:
    """Return the sentence below the table."""
    return (
        f"Rows with {tests} tests are Holm's correction over {tests} measures, if only one measure has an effect. Measure and "
        "outcome are normal, and tasks are independent."
    )
