"""Tables and numbers of a study as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def table(heads: Iterable[str], cells: Iterable[Iterable[Any]]) -> str:
    """Return a table with headings and rows."""
    names = list(heads)
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in cells)])


def number(value: float, digits: int = 2) -> str:
    """Return a number, "-" for NaN."""
    return "-" if value != value else f"{value:.{digits}f}"


def span(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return a value with its sign and its interval: "+3.20 [+1.00, +5.40]"; "-" for NaN, no interval if its ends are NaN."""
    if value != value:
        return "-"
    interval = f" [{low:+.{digits}f}, {high:+.{digits}f}]" if low == low else ""
    return f"{value:+.{digits}f}{interval}"
