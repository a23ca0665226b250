"""The accuracy matrix on the screen: as wide as there is room for, then in short headings with a legend, then in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmarks.names import SEEN
from harness.display.plain_table import plain_table

MANY_TASKS = 12
Rows = Mapping[int, Mapping[tuple[str, str], Any]]


def matrix_tables(
    rows: Rows, tasks: Sequence[str], heldout: Sequence[str], console: Console, width: int, shorten: bool = True
) -> list[Table]:
    """Return the matrix so far: a row after each task, its own task bold, tasks not yet trained dim, then the held-out ones.

    The first of these that is at most `width` characters wide: all names; with `shorten` the mean of the held-out domains
    instead of each; with `shorten` also unambiguous abbreviations of the names and a legend; blocks of columns, one below
    the other, with all names.
    """
    seen = any(("test", SEEN) in cells for cells in rows.values())
    # Fifty steps have no room, and what is read of them is the accuracy on all classes seen.
    shown = list(tasks) if not seen or len(tasks) <= MANY_TASKS else []
    columns = [("test", task) for task in shown]
    held = [("heldout", name) for name in heldout]
    names = {key: key[1] if key[0] == "test" else f"({key[1]})" for key in [*columns, *held]}
    short = _abbreviations(shown)
    legend = ", ".join(f"{short[task]} = {task}" for task in shown if short[task] != task and not task.startswith("step-"))
    mean = "held out: mean of " + ", ".join(heldout) if heldout else None

    def fits(table: Table) -> bool:
        return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= width

    whole = _table(rows, tasks, seen, columns + held, names)
    if fits(whole):
        return [whole]
    if shorten:
        one = _table(rows, tasks, seen, columns, names, held, caption=mean)
        if fits(one):
            return [one]
        shorter = {("test", task): short[task] for task in shown}
        caption = "; ".join(filter(None, [legend, mean]))
        one = _table(rows, tasks, seen, columns, shorter, held, caption=caption)
        if fits(one):
            return [one]
    blocks: list[Table] = []
    part: list[tuple[str, str]] = []
    for column in columns + held:
        if part and not fits(_table(rows, tasks, seen and not blocks, [*part, column], names)):
            blocks.append(_table(rows, tasks, seen and not blocks, part, names))
            part = []
        part.append(column)
    return [*blocks, _table(rows, tasks, seen and not blocks, part, names)]


def _table(
    rows: Rows,
    tasks: Sequence[str],
    seen: bool,
    columns: Sequence[tuple[str, str]],
    names: Mapping[tuple[str, str], str],
    averaged: Sequence[tuple[str, str]] = (),
    caption: str | None = None,
) -> Table:
    """One table of the given columns; `averaged` are held-out domains that get one column, their mean."""
    table = plain_table(caption=Text(caption, style="dim") if caption else None, caption_justify="left")
    table.add_column("after", no_wrap=True)
    if seen:
        table.add_column(SEEN, justify="right", no_wrap=True)
    for key in columns:
        table.add_column(Text(names[key]), justify="right", no_wrap=True)
    if averaged:
        table.add_column("(held)", justify="right", no_wrap=True)
    for after in sorted(rows):
        cells = rows[after]
        texts = [Text("zero-shot" if after == 0 else f"{after} {tasks[after - 1]}")]
        if seen:
            texts.append(Text(f"{cells['test', SEEN].percent:.1f}" if ("test", SEEN) in cells else "", style="bold"))
        for stream, name in columns:
            number = tasks.index(name) + 1 if stream == "test" else len(tasks) + 1
            style = "bold" if number == after else ("dim" if number > after else "")
            texts.append(Text(f"{cells[stream, name].percent:.1f}", style=style))
        if averaged:
            values = [cells[key].percent for key in averaged]
            texts.append(Text(f"{sum(values) / len(values):.1f}", style="dim"))
        table.add_row(*texts)
    return table


def _abbreviations(names: Sequence[str]) -> dict[str, str]:
    """Each name's shortest beginning of at least four letters that no other name has; five letters stay; "2" of "step-2"."""
    short = {}
    for name in names:
        others = [other for other in names if other != name]
        size = next(
            (n for n in range(4 if len(name) > 5 else 5, len(name)) if not any(o.startswith(name[:n]) for o in others)),
            len(name),
        )
        short[name] = name.removeprefix("step-") if name.startswith("step-") else name[:size]
    return short
