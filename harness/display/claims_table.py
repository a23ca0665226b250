"""The verdicts on claims as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.claims.judge import Row

STYLES = {"holds": "bold green", "does not hold": "bold red", "cannot be judged": "yellow", "not run": "dim"}


def claims_text(rows: Sequence[Row]) -> Group:
    """Return one block per paper: each claim with its verdict, the figures behind it, and the command that tests it."""
    blocks: list[RenderableType] = []
    for paper, claims in groupby(rows, key=lambda row: row.paper):
        blocks.append(Text(paper, style="bold"))
        for row in claims:
            place = ", ".join(filter(None, [row.edition and f"{row.edition} edition", row.model, _source(row)]))
            blocks.append(Padding(Text(f"{row.claim}  {row.text}"), (0, 0, 0, 2)))
            verdict = Text.assemble((row.verdict, STYLES[row.verdict]), f": {row.reason}", f" ({place})" if place else "")
            blocks.append(Padding(verdict, (0, 0, 0, 6)))
            for command in row.command.split("; "):
                blocks.append(Padding(Text(f"python cli.py {command}", style="dim"), (0, 0, 0, 6)))
        blocks.append(Text(""))
    counts = [f"{sum(row.verdict == word for row in rows)} {word}" for word in STYLES]
    return Group(*blocks, Text(f"{len(rows)} claims: {', '.join(counts)}"))


def _source(row: Row) -> str:
    return {"recorded": "recorded by the project", "study": "by the study", "results": "by your results"}.get(row.source, "")
