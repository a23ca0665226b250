"""The accuracy matrix on the screen, in the widest form that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmarks.names import SEEN
from harness.display.plain_table import plain_table

MAX_STEPS = 12
"""With more class-incremental steps, only the accuracy on all classes so far is shown."""


class HasPercent(Protocol):
    """An accuracy in percent."""

    @property
    def percent(self) -> float:
        """The accuracy, 0 to 100."""
        ...


Rows = Mapping[int, Mapping[tuple[str, str], HasPercent]]
"""Row of the accuracy matrix -> (stream, task) -> accuracy."""


def matrix_tables(
    rows: Rows, tasks: Sequence[str], heldout: Sequence[str], console: Console, width: int, shorten: bool = True
) -> list[Table]:
    """Return the accuracy matrix so far, with the task just trained in bold and tasks not trained yet dim.

    The first of these forms that fits is returned:

    1. one table with all names,
    2. with `shorten`, the mean of the held-out domains instead of each of them,
    3. with `shorten`, also unambiguous abbreviations of the task names, with a legend,
    4. several tables below each other, with all names.

    Args:
        rows: accuracy matrix; row 0 is zero-shot.
        tasks: names of the tasks in order.
        heldout: names of the held-out domains.
        console: console that measures the width.
        width: characters available.
        shorten: allow forms 2 and 3.
    """
    seen = any(("test", SEEN) in cells for cells in rows.values())
    shown = list(tasks) if not seen or len(tasks) <= MAX_STEPS else []
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
        averaged = _table(rows, tasks, seen, columns, names, held, caption=mean)
        if fits(averaged):
            return [averaged]
        short_names = {("test", task): short[task] for task in shown}
        caption = "; ".join(filter(None, [legend, mean]))
        abbreviated = _table(rows, tasks, seen, columns, short_names, held, caption=caption)
        if fits(abbreviated):
            return [abbreviated]
    blocks: list[Table] = []
    block: list[tuple[str, str]] = []
    for column in columns + held:
        if block and not fits(_table(rows, tasks, seen and not blocks, [*block, column], names)):
            blocks.append(_table(rows, tasks, seen and not blocks, block, names))
            block = []
        block.append(column)
    return [*blocks, _table(rows, tasks, seen and not blocks, block, names)]


def _table(
    rows: Rows,
    tasks: Sequence[str],
    seen: bool,
    columns: Sequence[tuple[str, str]],
    names: Mapping[tuple[str, str], str],
    averaged: Sequence[tuple[str, str]] = (),
    caption: str | None = None,
) -> Table:
    """Return one table of some columns. The held-out domains `averaged` share one column, their mean."""
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
    """Return the shortest prefix of each name, at least four letters, that no other name starts with.

    Names of up to five letters are not abbreviated. "step-2" becomes "2".
    """
    short = {}
    for name in names:
        others = [other for other in names if other != name]
        size = next(
            (n for n in range(4 if len(name) > 5 else 5, len(name)) if not any(o.startswith(name[:n]) for o in others)),
            len(name),
        )
        short[name] = name.removeprefix("step-") if name.startswith("step-") else name[:size]
    return short
