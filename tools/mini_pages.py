"""Tables of the mini edition's results, from mini_results.csv."""

from __future__ import annotations

from collections.abc import Iterable

from tools.tables import Row, markdown, number, rows

METRICS = {"transfer": "Transfer", "average": "Average", "last": "Last", "forgetting": "Forgetting", "retention": "Retention"}
CIL_METRICS = {"average": "cil_average", "last": "cil_last", "forgetting": "Forgetting", "bwt": "BWT", "transfer": "Transfer"}
SECONDS = {"train_seconds": "training s", "eval_seconds": "evaluation s"}
COSTS = {"trainable_params": "parameters trained", **SECONDS}
TOP = 5
"""Rows of the short leaderboard, before the references."""
REFERENCES = ("zero-shot", "finetune")


def with_spread(row: Row, metric: str) -> str:
    """Return "mean ± standard deviation", or the value of a single seed."""
    spread = row.get(f"{metric}_std")
    return f"{row[metric]} ± {spread}" if spread else row[metric] or "-"


def results(benchmark: str, protocol: str = "") -> list[Row]:
    """Return the rows of a benchmark under its usual protocol or another one, best Average first."""
    chosen = [row for row in rows("mini_results") if row["benchmark"] == benchmark and _protocol(row) == protocol]
    return sorted(chosen, key=lambda row: -float(row["average"]))


def _protocol(row: Row) -> str:
    """Return the protocol among a row's options, or an empty text for that of the benchmark."""
    return row["options"].removeprefix("protocol=") if row["options"].startswith("protocol=") else ""


def label(row: Row, cards: str | None = None) -> str:
    """Return the name of a strategy, with the note that tells two rows of one strategy apart.

    `cards` is the folder of the method cards as the page links it, with a slash at its end. None: no link.
    """
    name = f"`{row['strategy']}`"
    linked = name if cards is None else f"[{name}]({cards}{row['strategy']}.md)"
    return linked + (f" ({row['note']})" if row["options"] and not _protocol(row) else "")


def result_table(selected: Iterable[Row], metrics: dict[str, str], costs: dict[str, str], cards: str | None = None) -> str:
    """Return rows of mini_results.csv with metrics and costs; `command s` is the wall time of the whole command."""
    body = []
    for row in selected:
        first, last = row["command_seconds_min"], row["command_seconds_max"]
        seconds = [first if first == last else f"{first} to {last}"] if costs else []
        cells = (*(with_spread(row, m) for m in metrics), *(number(row[c]) or "-" for c in costs), *seconds)
        body.append([label(row, cards), row["seeds"], *cells])
    return markdown(["strategy", "seeds", *metrics.values(), *costs.values(), *(["command s"] if costs else [])], body)


def short_leaderboard() -> str:
    """Return the best methods of the mini edition's MTIL and the two references."""
    ranked = results("mtil")
    best = [row for row in ranked if row["strategy"] not in REFERENCES][:TOP]
    return result_table([row for row in ranked if row in best or row["strategy"] in REFERENCES], METRICS, {})
