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

TITLES = {
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
    "reported": "reported",
}
CIL_TITLES = {"average": METRIC_TITLES["cil_average"], "last": METRIC_TITLES["cil_last"]}
"""The columns that hold class-incremental metrics in rows of class-incremental benchmarks."""
CIL_CAPTION = (
    "cil_average: average incremental accuracy, the mean over steps of the accuracy on all classes so far; "
    "cil_last: that accuracy after the last step"
)
BATCH_MARK = "*"
BATCH_CAPTION = f"{BATCH_MARK} predictions depend on the other images of their batch (--check-batch)"
OPTIONAL = ("settings", "reported")
"""Columns that are shown if a row has them."""
REPORTED_CAPTION = (
    "reported: average, or average / last, by the method's authors; the row's other numbers are a third party's re-run"
)
TEXT_COLUMNS = ("strategy", "tuning", "model", "source", *OPTIONAL)
DROP_ORDER = (
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
"""The columns that a narrow screen leaves out, in this order."""


def print_leaderboard(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print one table per benchmark, edition, order and setting, best average first, with standard deviations over seeds.

    Args:
        table: `harness.records.leaderboard.leaderboard`.
        console: console to print on; None makes one.
    """
    console = console or make_console()
    if table.empty:
        console.print("There are no finished runs. Make one with: python cli.py bench mtil --strategy zscl", style="dim")
        return
    marks = {mark: table[mark].astype(object).where(table[mark].notna(), "") if mark in table else "" for mark in MARKS}
    table, ordered = table.assign(**marks), table.attrs.get("ordered", {})
    for values, group in table.groupby(list(SECTION), sort=False):
        section = dict(zip(SECTION, values, strict=True))
        title = section_title(section, ordered.get(section["order"], ()))
        incremental = str(section["benchmark"]).startswith("cil-")
        columns = [name for name in TITLES if name not in OPTIONAL or (name in group and group[name].notna().any())]
        shown = _section_table(title, group, columns, incremental)
        for name in DROP_ORDER:
            if Measurement.get(console, console.options.update(max_width=1000), shown).maximum <= console.width:
                break
            columns.remove(name)
            shown = _section_table(title, group, columns, incremental)
        console.print(shown)
        if "batch_dependent" in group and (group["batch_dependent"] == "yes").any():
            console.print(BATCH_CAPTION, style="dim")
        if "reported" in columns:
            console.print(REPORTED_CAPTION, style="dim")
        if incremental:
            console.print(CIL_CAPTION, style="dim")


def _section_table(title: str, group: pd.DataFrame, columns: list[str], incremental: bool) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    titles = {**TITLES, **CIL_TITLES} if incremental else TITLES
    for name in columns:
        table.add_column(titles[name], justify="left" if name in TEXT_COLUMNS else "right", no_wrap=True)
    for _, row in group.iterrows():
        table.add_row(*(_cell(row, name) for name in columns))
    return table


def _cell(row: pd.Series, name: str) -> str:
    import pandas as pd

    value = row[name]
    if name in OPTIONAL:
        return "" if pd.isna(value) else str(value)
    if name == "strategy" and row.get("batch_dependent") == "yes":
        return f"{value} {BATCH_MARK}"
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
    deviation = row.get(f"{name}_std")
    return f"{value:z.1f}" if deviation is None or pd.isna(deviation) else f"{value:z.1f} ± {deviation:.1f}"
