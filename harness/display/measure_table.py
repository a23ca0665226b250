"""The table of `measure` on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from harness.display.console import PIPED_WIDTH
from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from metrics.suite import MEASURES

ACCURACIES = {
    "zero_shot": ("Zero-shot accuracy on the same images, all templates averaged, in percent.", "the model knows the task"),
    "zero_shot_test": ("The same on the test split, in percent.", "the model knows the task"),
}
INTERVALS = (
    "Intervals are 95 % over images: jackknife (iimm and its terms), Student's t (correct_pair), Wilson's (zero_shot). "
    "Measures look at one prompt a class, the first template."
)


def show(table: pd.DataFrame, screen: Screen) -> None:
    """Print the table of `harness.study.measure.measure`: one dataset with each measure's meaning, several with a legend."""
    datasets = list(dict.fromkeys(table.dataset))
    if len(datasets) == 1:
        screen.say(_about(table))
        screen.show(explained(table))
    else:
        width = screen.console.width if screen.console.is_terminal else PIPED_WIDTH
        for part in side_by_side(table, width):
            screen.show(part)
        for reason in _reasons(table):
            screen.say(reason)
        screen.show(legend(list(dict.fromkeys(table.measure))))
    screen.say(INTERVALS, style="dim")


def explained(table: pd.DataFrame) -> Table:
    """A row a measure of one dataset: value, interval, what it means, what a higher value says; NaN with its reason."""
    out = plain_table()
    out.add_column("measure", no_wrap=True)
    out.add_column("value", justify="right", no_wrap=True)
    out.add_column("95 % interval", no_wrap=True)
    out.add_column("what it is")
    out.add_column("higher means")
    for r in table.itertuples():
        meaning, higher = _meaning(str(r.measure))
        if r.reason:
            meaning = f"{meaning} Undefined here: {r.reason}."
        out.add_row(str(r.measure), _number(r.value), _interval(r), meaning, higher)
    return out


def legend(measures: Sequence[str]) -> Table:
    """A row for each measure: what it is and what a higher value means."""
    out = plain_table()
    out.add_column("measure", no_wrap=True)
    out.add_column("what it is")
    out.add_column("higher means")
    for measure in measures:
        out.add_row(measure, *_meaning(measure))
    return out


def side_by_side(table: pd.DataFrame, width: int) -> Iterator[Table]:
    """A row a measure and a column a dataset, as many of them in one table as fit into `width` characters."""
    measures = list(dict.fromkeys(table.measure))
    cells: dict[str, dict[str, Any]] = {}
    for r in table.itertuples():
        cells.setdefault(str(r.dataset), {})[str(r.measure)] = r
    head = max(map(len, measures))
    part: dict[str, dict[str, Any]] = {}
    room = width - head
    for name, column in cells.items():
        wide = 1 + max(len(name), *(len(_interval(r)) for r in column.values()))
        if part and wide > room:
            yield _columns(part, measures)
            part, room = {}, width - head
        part[name] = column
        room -= wide
    yield _columns(part, measures)


def _columns(cells: Mapping[str, Mapping[str, Any]], measures: list[str]) -> Table:
    out = plain_table(padding=(0, 1, 0, 0))
    out.add_column("", no_wrap=True)
    for name in cells:
        out.add_column(name, justify="right", no_wrap=True)
    firsts = [column[measures[0]] for column in cells.values()]
    out.add_row("edition", *(r.edition for r in firsts), style="dim")
    out.add_row("classes", *(f"{r.classes:,}" for r in firsts), style="dim")
    out.add_row("images", *(f"{r.n:,}" for r in firsts), style="dim")
    for measure in measures:
        found = [column[measure] for column in cells.values()]
        out.add_row(measure, *(_number(r.value) for r in found))
        if any(map(_interval, found)):
            out.add_row("", *map(_interval, found), style="dim")
    return out


def _about(table: pd.DataFrame) -> str:
    r = table.iloc[0]
    test = table.loc[table.measure == "zero_shot_test", "n"].iloc[0]
    return f"{r.dataset} ({r.edition}): {r.classes:,} classes, {r.n:,} images measured, {test:,} test images"


def _reasons(table: pd.DataFrame) -> Iterator[str]:
    """A line for each reason why measures of a dataset are undefined."""
    undefined = table[table.reason != ""]
    for (dataset, reason), group in undefined.groupby(["dataset", "reason"], sort=False):
        yield f"{dataset}: undefined {', '.join(group.measure)}: {reason}"


def _meaning(name: str) -> tuple[str, str]:
    if name in ACCURACIES:
        return ACCURACIES[name]
    return MEASURES[name].meaning, MEASURES[name].higher


def _number(value: float) -> str:
    """Four significant digits; "-" for NaN."""
    return "-" if value != value else f"{value:#.4g}".rstrip(".")


def _interval(row: Any) -> str:
    return "" if row.low != row.low else f"{_number(row.low)} to {_number(row.high)}"
