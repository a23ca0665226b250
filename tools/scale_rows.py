"""Rows of reference_data/tables/scale.csv: patches of models of several sizes (`harness.records.scale`), and the page's table.

For each size, smallest first, one row per task and the mean over tasks, then the largest size minus the smallest. The ends
`_low` and `_high` are those of 95 % t intervals over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.records.runs import Run
from harness.records.scale import Size, Values, by_task, difference, over_seeds, sizes
from metrics.means import Mean

MEAN, DIFFERENCE = "mean", "largest minus smallest"
COLUMNS = (
    *("edition", "model", "parameters", "task", "seeds", *Values._fields),
    *(f"{name}_{end}" for name in Values._fields for end in ("low", "high")),
)
DIGITS = {"alpha": 2, "weight_cosine": 4} | {name: 3 for name in Values._fields if name.startswith("cka")}
"""Digits of values that are not in percent or points, which have one."""
KEPT = {
    "distance": "distance, points",
    "relative_distance": "relative distance, %",
    "gain": "gain, points",
    "gain_kept": "gain kept, %",
    "supported_loss": "supported loss, points",
    "supported_kept": "supported accuracy kept, %",
}
ALIKE = {"cka": "CKA, patched task", "cka_supported": "CKA, supported tasks", "weight_cosine": "cosine of weights"}
"""Headings of the page's two tables by column."""


def scale_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the rows, or none with fewer than two models."""
    models = sizes(list(runs))
    if len(models) < 2:
        return []
    rows = []
    for size in models:
        for task, values in by_task(size).items():
            rows.append(_row(size, task, len(size.runs), {name: _text(name, v) for name, v in values._asdict().items()}))
        rows.append(_row(size, MEAN, len(size.runs), _with_ends(over_seeds(size))))
    apart = difference(models[0], models[-1])
    rows.append({"task": DIFFERENCE, "seeds": apart["distance"].n, **_with_ends(apart)})
    return rows


def scale_table(rows: Sequence[Mapping[str, str]], shown: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Return a page's table of some columns: the means of each size, and the largest size minus the smallest.

    Args:
        rows: rows of scale.csv.
        shown: `KEPT` or `ALIKE`.
    """
    body = []
    for row in rows:
        if row["task"] in (MEAN, DIFFERENCE):
            title = f"{int(row['parameters']) / 1e6:.1f} M" if row["parameters"] else row["task"]
            body.append([title, row["seeds"], *(_cell(row, name) for name in shown)])
    return ["parameters", "seeds", *shown.values()], body


def _row(size: Size, task: str, seeds: int, values: Mapping[str, str]) -> dict[str, Any]:
    edition = size.runs[0].identity["edition"]
    return {"edition": edition, "model": size.model, "parameters": size.parameters, "task": task, "seeds": seeds, **values}


def _with_ends(means: Mapping[str, Mean]) -> dict[str, str]:
    ends = ("low", "high")
    return {
        **{name: _text(name, value.mean) for name, value in means.items()},
        **{f"{name}_{end}": _text(name, getattr(value, end)) for name, value in means.items() for end in ends},
    }


def _text(name: str, value: float) -> str:
    return "" if value != value else f"{value:z.{DIGITS.get(name, 1)}f}"


def _cell(row: Mapping[str, str], name: str) -> str:
    """Return a value with its interval, a difference with its sign."""
    sign = "+" if row["task"] == DIFFERENCE else ""
    texts = [f"{float(row[key]):{sign}.{DIGITS.get(name, 1)}f}" for key in (name, f"{name}_low", f"{name}_high") if row[key]]
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if len(texts) == 3 else (texts or ["-"])[0]
