"""The tables of `measure` on the screen."""

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
    "zero_shot": (
        "Zero-shot accuracy on the same images with all templates, in percent.",
        "the model knows the task",
    ),
    "zero_shot_test": (
        "Zero-shot accuracy on the test split with all templates, in percent.",
        "the model knows the task",
    ),
}
INTERVALS = (
    "Intervals are 95 % intervals over images: jackknife (iimm and its terms), Student's t (correct_pair), Wilson (zero_shot). "
    "Measures use one prompt per class, from the first template."
)


def print_measures(table: pd.DataFrame, screen: Screen) -> None:
    """Print the table of `harness.study.measure.measure`. Several datasets are side by side, with a legend below."""
    datasets = list(dict.fromkeys(table.dataset))
    if len(datasets) == 1:
        screen.say(_dataset_line(table))
        screen.show(explained_table(table))
    else:
        width = screen.console.width if screen.console.is_terminal else PIPED_WIDTH
        for columns in side_by_side(table, width):
            screen.show(columns)
        for reason in _reasons(table):
            screen.say(reason)
        screen.show(legend(list(dict.fromkeys(table.measure))))
    screen.say(INTERVALS, style="dim")


def explained_table(table: pd.DataFrame) -> Table:
    """Return one row per measure of a dataset: value, interval and meaning, with the reason of an undefined value."""
    out = plain_table()
    out.add_column("measure", no_wrap=True)
    out.add_column("value", justify="right", no_wrap=True)
    out.add_column("95 % interval", no_wrap=True)
    out.add_column("description")
    out.add_column("higher means")
    for r in table.itertuples():
        meaning, higher = _meaning(str(r.measure))
        if r.reason:
            meaning = f"{meaning} Undefined here: {r.reason}."
        out.add_row(str(r.measure), _number(r.value), _interval(r), meaning, higher)
    return out


def legend(measures: Sequence[str]) -> Table:
    """Return one row per measure: its description and the meaning of a higher value."""
    out = plain_table()
    out.add_column("measure", no_wrap=True)
    out.add_column("description")
    out.add_column("higher means")
    for measure in measures:
        out.add_row(measure, *_meaning(measure))
    return out


def side_by_side(table: pd.DataFrame, width: int) -> Iterator[Table]:
    """Yield tables with one row per measure and one column per dataset, each at most `width` characters wide."""
    measures = list(dict.fromkeys(table.measure))
    cells: dict[str, dict[str, Any]] = {}
    for r in table.itertuples():
        cells.setdefault(str(r.dataset), {})[str(r.measure)] = r
    first_column = max(map(len, measures))
    columns: dict[str, dict[str, Any]] = {}
    room = width - first_column
    for name, column in cells.items():
        column_width = 1 + max(len(name), *(len(_interval(r)) for r in column.values()))
        if columns and column_width > room:
            yield _columns(columns, measures)
            columns, room = {}, width - first_column
        columns[name] = column
        room -= column_width
    yield _columns(columns, measures)


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
        rows = [column[measure] for column in cells.values()]
        out.add_row(measure, *(_number(r.value) for r in rows))
        if any(map(_interval, rows)):
            out.add_row("", *map(_interval, rows), style="dim")
    return out


def _dataset_line(table: pd.DataFrame) -> str:
    r = table.iloc[0]
    test = table.loc[table.measure == "zero_shot_test", "n"].iloc[0]
    return f"{r.dataset} ({r.edition}): {r.classes:,} classes, {r.n:,} images measured, {test:,} test images"


def _reasons(table: pd.DataFrame) -> Iterator[str]:
    """Yield one line per reason why measures of a dataset are undefined."""
    undefined = table[table.reason != ""]
    for (dataset, reason), group in undefined.groupby(["dataset", "reason"], sort=False):
        yield f"{dataset}: undefined {', '.join(group.measure)}: {reason}"


def _meaning(name: str) -> tuple[str, str]:
    if name in ACCURACIES:
        return ACCURACIES[name]
    return MEASURES[name].meaning, MEASURES[name].higher


def _number(value: float) -> str:
    """Format a number with four significant digits, or "-" for NaN."""
    return "-" if value != value else f"{value:#.4g}".rstrip(".")


def _interval(row: Any) -> str:
    return "" if row.low != row.low else f"{_number(row.low)} to {_number(row.high)}"
