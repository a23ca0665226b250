"""The tables of `compare` on a screen."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from harness.records.compare import BLOCK
from harness.records.titles import METRIC_TITLES, stream_title


def comparison_tables(comparison: pd.DataFrame) -> list[Table]:
    """Return one table for each pair of settings of `harness.records.compare.compare`, each with its heading."""
    tables, ordered = [], comparison.attrs.get("ordered", {})
    for values, rows in comparison.groupby(list(BLOCK), sort=False):
        block = dict(zip(BLOCK, values, strict=True))
        a, b = (
            f"{block[side]} ({block[f'settings_{side}']})" if block[f"settings_{side}"] else block[side] for side in ("a", "b")
        )
        stream = stream_title(block["benchmark"], block["edition"], block["order"], ordered.get(block["order"], ()))
        place = ", ".join(filter(None, [stream, block["model"], block["setting"]]))
        table = Table(title=f"A = {a}, B = {b}: {place}\n{block['note']}", title_justify="left", box=None, pad_edge=False)
        for name in ("", "A", "B", "A - B", "95 % interval", "A wins / ties / loses", "verdict"):
            table.add_column(name, justify="left" if name in ("", "verdict") else "right", no_wrap=True)
        for row in rows.to_dict("records"):
            table.add_row(
                METRIC_TITLES[row["metric"]],
                f"{row['mean_a']:.2f}",
                f"{row['mean_b']:.2f}",
                f"{row['difference']:+.2f}",
                "-" if row["low"] != row["low"] else f"{row['low']:+.2f} to {row['high']:+.2f}",
                f"{row['wins']} / {row['ties']} / {row['losses']}",
                row["verdict"],
            )
        tables.append(table)
    return tables
