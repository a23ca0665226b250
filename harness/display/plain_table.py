"""A table without lines, as every command prints them."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def plain_table(title: str | None = None, **options: Any) -> Table:
    """A table without lines, with dim headings and its title at the left; `options` are rich's."""
    return Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim", **options)
