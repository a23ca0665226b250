"""Tables for the screen: the leaderboard and the lists. Imports neither torch nor Avalanche."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from harness.screen import PIPED_WIDTH

SHOWN = {
    "strategy": "strategy",
    "tuning": "tuning",
    "model": "model",
    "seeds": "seeds",
    "transfer": "Transfer",
    "average": "Average",
    "last": "Last",
    "forgetting": "Forgetting",
    "bwt": "BWT",
    "retention": "Retention",
    "iimm_mean": "IIMM",
    "train_seconds": "train s",
    "eval_seconds": "eval s",
    "source": "source",
}
# What a narrow screen loses, first to last.
DROPPED = ("source", "model", "tuning", "eval_seconds", "iimm_mean", "seeds", "train_seconds", "bwt", "forgetting")
MEASURES = {
    "iimm": "inter-intra modal measure of an experience on the current model (2407.15731)",
    "iimm_intra": "its image-image term",
    "iimm_inter": "its image-wrong-text term",
    "iimm_zero_shot": "the measure on the initial model",
    "retention": "percent of zero-shot accuracy kept on held-out domains and tasks not trained yet",
}


def print_leaderboard(table: pd.DataFrame, console: Console | None = None) -> None:
    """One table per benchmark, edition and order, best average first; standard deviations over seeds where there are any."""
    console = console or _console()
    if table.empty:
        console.print("no finished runs: python cli.py bench mtil --strategy zscl makes one", style="dim")
        return
    table = table.assign(limit=table["limit"].fillna(0) if "limit" in table else 0)
    for (benchmark, edition, order, limit), group in table.groupby(["benchmark", "edition", "order", "limit"], sort=False):
        columns = list(SHOWN)
        title = f"{benchmark}, {edition} edition, Order {order}" + (f", at most {limit:.0f} images a split" if limit else "")
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
        numeric = name not in ("strategy", "tuning", "model", "source")
        shown.add_column(SHOWN[name], justify="right" if numeric else "left", no_wrap=True)
    for _, row in group.iterrows():
        shown.add_row(*(_cell(row, name) for name in columns))
    return shown


def _console() -> Console:
    """As wide as the terminal; wide enough for every column when piped."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def print_list(what: str, long: bool = False, title: bool = False, console: Console | None = None) -> None:
    """The names of one kind, each with what it is."""
    console = console or _console()
    if title:
        console.print(what, style="bold")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    if long:
        table.add_column(style="dim")
    for name, about, more in _entries(what):
        table.add_row(f"  {name}", about, *([more] if long else []))
    console.print(table, highlight=False)


def _entries(what: str) -> list[tuple[str, str, str]]:
    import models
    from benchmarks import mini
    from strategies import ABOUT, STRATEGIES

    if what == "domains":
        entries: list[dict[str, Any]] = mini.summary()
        return [
            (
                e["name"],
                f"mini edition, {e['classes']} classes{', held out' if e['name'] in mini.HELDOUT else ''}",
                f"{e['source']} ({e['licence']})",
            )
            for e in entries
        ]
    simple = {
        "benchmarks": {"mtil": f"task-incremental over domains; mini: {', '.join(mini.STREAM)}; orders I, II or a list"},
        "strategies": {name: ABOUT.get(name, "") for name in STRATEGIES.names()},
        "tunings": models.TUNINGS,
        "measures": MEASURES,
        "models": models.KNOWN,
    }[what]
    return [(name, about, "") for name, about in simple.items()]


def _cell(row: pd.Series, name: str) -> str:
    value = row[name]
    if not isinstance(value, (int, float)) or name == "seeds":
        return str(value)
    if pd.isna(value):
        return "-"
    if name == "iimm_mean":
        return f"{value:.3f}"
    if name in ("train_seconds", "eval_seconds"):
        return f"{value:.0f}"
    spread = row.get(f"{name}_std")
    return f"{value:.1f}" if spread is None or pd.isna(spread) else f"{value:.1f} ± {spread:.1f}"
