"""Tables of the page as data. The templates turn them into HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Control characters and lone surrogates (from file names that are not text), which neither XML nor UTF-8 can hold.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Replace each character that no file can hold by U+FFFD."""
    return UNWRITABLE.sub("\ufffd", text)


class Cell(NamedTuple):
    """Text of a table cell, and the number or text that it is sorted by. The key None means the text.

    `links` are texts and addresses, which are shown instead of the text.
    """

    text: str
    key: str | None = None
    links: tuple[tuple[str, str], ...] = ()


class Table(NamedTuple):
    """A sortable table. `columns` maps each heading to its meaning (None: none); the first `text_columns` hold text."""

    caption: str
    columns: Mapping[str, str | None]
    rows: list[list[Cell]]
    text_columns: int

    @property
    def headings(self) -> list[str]:
        """The headings in order."""
        return [*self.columns]


def table(caption: str, columns: Mapping[str, str | None], rows: Sequence[Sequence[Any]], text_columns: int = 1) -> Table:
    """Return a table.

    Args:
        caption: caption and accessible name.
        columns: heading -> meaning, or None.
        rows: rows of `Cell` or of values that are shown as text. The first cell of a row is its heading.
        text_columns: number of leading columns that hold text instead of numbers.
    """
    cells = [[value if isinstance(value, Cell) else Cell("" if value is None else str(value)) for value in row] for row in rows]
    return Table(caption, columns, cells, text_columns)


def number(value: Any, digits: int = 1, sd: Any = None) -> Cell:
    """Return a number with its standard deviation, if known. A missing number is shown as a dash."""
    if value is None or value != value:
        return Cell("-", "")
    deviation = "" if sd is None or sd != sd else f" ± {sd:,.{digits}f}"
    return Cell(f"{value:z,.{digits}f}{deviation}", f"{value:.6g}")
