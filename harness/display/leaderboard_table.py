"""The leaderboard on the screen. Imports neither torch nor Avalanche."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from harness.display.console import make_console
from harness.records.leaderboard import MARKS, METRICS, SECTION, section_title
from harness.records.titles import METRIC_TITLES

# Importing pandas takes a third of a second.
if TYPE_CHECKING:
    import pandas as pd

SHOWN = {
    "strategy": "strategy",
    "tuning": "tuning",
    "model": "model",
    "seeds": "seeds",
    **{name: METRIC_TITLES[name] for name in METRICS if name in METRIC_TITLES},
    "iimm_mean": "IIMM",
    "train_seconds": "train s",
    "eval_seconds": "eval s",
    "trainable_params": "trains",
    "source": "source",
    "settings": "settings",
}
# What a narrow screen loses, first to last.
DROPPED = (
    "source",
    "trainable_params",
    "model",
    "tuning",
    "eval_seconds",
    "iimm_mean",
    "seeds",
    "train_seconds",
    "bwt",
    "forgetting",
)


def print_leaderboard(table: pd.DataFrame, console: Console | None = None) -> None:
    """One table per benchmark, edition, order and setting, best average first, with standard deviations over seeds."""
    console = console or make_console()
    if table.empty:
        console.print("no finished runs: python cli.py bench mtil --strategy zscl makes one", style="dim")
        return
    marks = {mark: table[mark].astype(object).where(table[mark].notna(), "") if mark in table else "" for mark in MARKS}
    table, ordered = table.assign(**marks), table.attrs.get("ordered", {})
    for values, group in table.groupby(list(SECTION), sort=False):
        row = dict(zip(SECTION, values, strict=True))
        title = section_title(row, ordered.get(row["order"], ()))
        differ = "settings" in group and group["settings"].notna().any()
        columns = [name for name in SHOWN if name != "settings" or differ]
        shown = _leaderboard_table(title, group, columns)
        for name in DROPPED:
            if Measurement.get(console, console.options.update(max_width=1000), shown).maximum <= console.width:
                break
            columns.remove(name)
            shown = _leaderboard_table(title, group, columns)
        console.print(shown)


def _leaderboard_table(title: str, group: pd.DataFrame, columns: list[str]) -> Table:
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        numeric = name not in ("strategy", "tuning", "model", "source", "settings")
        shown.add_column(SHOWN[name], justify="right" if numeric else "left", no_wrap=True)
    for _, row in group.iterrows():
        shown.add_row(*(_cell(row, name) for name in columns))
    return shown


def _cell(row: pd.Series, name: str) -> str:
    import pandas as pd

    value = row[name]
    if name == "settings":
        return "" if pd.isna(value) else value
    if not isinstance(value, (int, float)) or name == "seeds":
        return str(value)
    if pd.isna(value):
        return "-"
    if name == "iimm_mean":
        return f"{value:.3f}"
    if name == "trainable_params":
        return f"{value:,.0f}"
    if name in ("train_seconds", "eval_seconds"):
        return f"{value:.0f}"
    spread = row.get(f"{name}_std")
    return f"{value:z.1f}" if spread is None or pd.isna(spread) else f"{value:z.1f} ± {spread:.1f}"
