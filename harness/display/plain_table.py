"""The table style of all commands."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def plain_table(title: str | None = None, **options: Any) -> Table:
    """Return a table without lines, with dim headings and a left-aligned title.

    Args:
        title: title above the table.
        options: further options of `rich.table.Table`.
    """
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim", **options)
