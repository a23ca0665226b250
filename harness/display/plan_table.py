"""A plan on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.plan.titles import COUNTS, DISK, MEMORY, SECONDS


def show_plan(plan: Mapping[str, Any], screen: Screen) -> None:
    """Print a plan (`harness.plan.plan.Plan.document`): tables of work, disk, memory and time, and the notes."""
    screen.banner(f"plan of {plan['title']}", [f"measured on {plan['device']}; nothing was trained and nothing was written"])
    sections: list[tuple[str, Mapping[str, str], Mapping[str, Any], Any]] = [
        ("work", COUNTS, plan["counts"], lambda n: f"{n:,}"),
        ("disk", DISK, plan["disk"], size),
        ("memory", MEMORY, plan["memory"], size),
        ("time", SECONDS, plan["seconds"], duration),
    ]
    for title, names, values, form in sections:
        table = plain_table(title)
        table.add_column("", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
        for name, words in names.items():
            if values[name] or name in ("updates", "total"):
                table.add_row(words, form(values[name]))
        screen.show(table)
    screen.say(f"{plan['bound']}.")
    for note in plan["notes"]:
        screen.say(f"note: {note}", style="yellow")


def size(amount: float) -> str:
    """Return bytes in a unit in which the number is at least 1."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.1f} {unit}"
    return f"{amount:.0f} B"


def duration(seconds: float) -> str:
    """Return seconds in a unit in which the number has two or three digits."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
