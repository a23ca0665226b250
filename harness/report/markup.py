"""HTML from Python values: everything that is text is escaped, so that no name of a run or a task is ever markup."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

# What neither XML nor UTF-8 can hold: control characters and halves of surrogate pairs, of file names that are not text.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
VOID = {"meta"}


class Markup(str):
    """Text that is HTML already."""


def clean(text: str) -> str:
    """The text with a mark in place of what no file can hold."""
    return UNWRITABLE.sub("�", text)


def escaped(value: Any) -> Markup:
    """A value as text in HTML; `Markup` stays as it is, nothing is empty."""
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else html.escape(clean(str(value))))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. Attributes: `_` stands for `-`, `class_` for class; True is the bare name, None and False leave it out."""
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escaped(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = "".join(escaped(child) for child in children)
    return Markup(f"<{name}{said}>" if name in VOID else f"<{name}{said}>{inside}</{name}>")


class Cell(tuple):
    """What a table cell shows, and the number or text that it is sorted by."""

    def __new__(cls, shown: Any, key: Any = None) -> Cell:
        return super().__new__(cls, (shown, key))


def number(value: Any, digits: int = 1, sd: Any = None) -> Cell:
    """A number, with its standard deviation where there is one; a dash where there is no number."""
    if value is None or value != value:
        return Cell("-", "")
    spread = "" if sd is None or sd != sd else f" ± {sd:,.{digits}f}"
    return Cell(f"{value:,.{digits}f}{spread}", f"{value:.6g}")


def table(
    caption: str, columns: Mapping[str, str | None], rows: Sequence[Sequence[Any]], text_columns: int = 1, sortable: bool = True
) -> Markup:
    """A table in a box that scrolls; the headers sort it.

    `columns` maps each header to what it means (None: plain). The first cell of a row is its header; cells that are `Cell`
    sort by their key.
    """
    heads, names = [], list(columns)
    for i, (name, meaning) in enumerate(columns.items()):
        shown = tag("button", name, type="button", title=meaning) if sortable else name
        heads.append(tag("th", shown, scope="col", class_=None if i < text_columns else "n"))
    body = []
    for row in rows:
        cells = []
        for i, value in enumerate(row):
            shown, key = value if isinstance(value, Cell) else (value, None)
            options = {"class_": None if i < text_columns else "n", "data_key": key}
            # On a small screen a row is a card, in which each value has its header before it.
            label = names[i] if i and i < len(names) else None
            cells.append(tag("td", shown, data_label=label, **options) if i else tag("th", shown, scope="row", **options))
        body.append(tag("tr", *cells))
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", *body), class_="cards")
    return scrolling(inner, caption)


def scrolling(wide: Markup, label: str) -> Markup:
    """A box in which what is wider than the page scrolls, by the keyboard too."""
    return tag("div", wide, class_="scroll", tabindex=0, role="region", aria_label=label)
