"""Read the CSV files under reference_data/tables/ and write them as Markdown."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

TABLE_FOLDER = Path(__file__).parent.parent / "reference_data" / "tables"
Row = dict[str, str]
# Columns that identify a row, by file.
KEYS = {
    "mini_results": ("benchmark", "strategy", "options"),
    "batch_check": ("benchmark", "strategy", "options", "batches"),
    "method_costs": ("strategy",),
    "mini_gains": ("domain",),
    "mini_zero_shot": ("domain",),
    "broad_tasks": ("task",),
    "speed": ("measurement", "case", "quantity"),
    "full_run_cost": ("part", "quantity"),
    "gpu_speed": ("kind", "precision", "exactness", "compile", "images"),
    "gpu_parity": ("runs",),
}
NUMERIC = re.compile(r"(\*{0,2})(?:-?|-?[\d.,]+(?: (?:±|to) [\d.,]+)?)\1")
"""A cell of a column of numbers: a number, also bold or italic, with a spread or a range, or a dash."""


@cache
def rows(name: str) -> tuple[Row, ...]:
    """Return the rows of reference_data/tables/NAME.csv."""
    with (TABLE_FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def value(name: str, key: str, column: str) -> str:
    """Return one cell as a page shows it. Raises KeyError for a row or column that the file does not have."""
    for row in rows(name):
        parts = [row[part] for part in KEYS[name]]
        if key in ("/".join(parts), "/".join(filter(None, parts))):
            return number(row[column])
    raise KeyError(f"{name}.csv has no row {key!r}")


def number(text: str) -> str:
    """Return a number with thousands separators, other text as it is."""
    return f"{int(text):,}" if text.isdigit() else text


def markdown(headings: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; columns of numbers are right-aligned."""
    body = list(body)
    numeric = [all(NUMERIC.fullmatch(cell) for cell in column) for column in zip(*body, strict=True)]
    lines = [headings, ["---:" if right else "---" for right in numeric], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def columns(name: str, headings: dict[str, str]) -> str:
    """Return some columns of a file as a table."""
    return markdown(list(headings.values()), [[number(row[column]) or "-" for column in headings] for row in rows(name)])
