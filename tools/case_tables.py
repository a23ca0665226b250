"""Measured results of case studies: `python -m tools.case_tables RESULTS` writes CSV files from records.

Under reference_data/tables/:

- cases.csv: one row per test set of a patch, means over seeds, in percent and points. `low` and `high` are the ends of the 95 %
  t interval over seeds of the change, patched minus zero-shot.
- transfer.csv: the effects of `transfer-study` (`harness.records.transfer`), and their means.
- paint.csv: PAINT's main table (`harness.records.paint_table`).
- generalisation.csv: gains of each tuning and predictors of difficulty (`tools.generalisation_rows`).
- scale.csv: patches of models of several sizes (`tools.scale_rows`). Their runs are in no other table.

`tools.pages` writes the tables of the pages from these files.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.paint_table import STATES, STRATEGIES, main_table
from harness.records.patches import Curve, Patch, patches
from harness.records.runs import Run, read
from harness.records.scale import sizes
from harness.records.transfer import Effect, effects, mean_effect, whole_domains
from metrics.means import mean
from tools.generalisation_rows import COLUMNS as GENERALISATION_COLUMNS
from tools.generalisation_rows import generalisation_rows
from tools.scale_rows import COLUMNS as SCALE_COLUMNS
from tools.scale_rows import scale_rows

FOLDER = Path(__file__).parents[1] / "reference_data" / "tables"
COLUMNS = (
    *("benchmark", "edition", "model", "strategy", "task", "test_set", "role", "n", "seeds", "alpha"),
    *("zero_shot", "fine_tuned", "patched", "change", "low", "high"),
)


TRANSFER_COLUMNS = (*Effect._fields, "verdict")
PAINT_COLUMNS = ("test_sets", "method", "seeds", *STATES, *(f"relative_{state}" for state in STATES))


def case_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the rows of the finished runs that have curves. Seeds are averaged; other tasks of a stream are left out."""
    cells: dict[tuple[str, ...], list[tuple[Patch, Curve]]] = {}
    for run in runs:
        if run.finished:
            where = tuple(str(run.identity[name]) for name in ("benchmark", "edition", "model", "strategy"))
            for patch in patches(run.document.get("searches")):
                for curve in patch.curves:
                    if (kind := patch.role(curve, run.targets)) != "other":
                        cells.setdefault((*where, patch.task, curve.task, kind), []).append((patch, curve))
    return [_row(key, values) for key, values in cells.items()]


def _row(key: tuple[str, ...], values: Sequence[tuple[Patch, Curve]]) -> dict[str, Any]:
    change = mean([curve.patched.percent - curve.before.percent for _, curve in values])
    numbers = {
        "alpha": np.mean([np.mean(patch.chosen) for patch, _ in values]),
        "zero_shot": np.mean([curve.before.percent for _, curve in values]),
        "fine_tuned": np.mean([curve.fine_tuned.percent for _, curve in values]),
        "patched": np.mean([curve.patched.percent for _, curve in values]),
        "change": change.mean,
        "low": change.low,
        "high": change.high,
    }
    shown = {name: "" if value != value else f"{value:.{2 if name == 'alpha' else 1}f}" for name, value in numbers.items()}
    return {**dict(zip(COLUMNS, key, strict=False)), "n": values[0][1].patched.n, "seeds": len(values), **shown}


def page_table(rows: Sequence[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a page's table of one benchmark."""
    tasks = len({row["task"] for row in rows}) > 1
    headings = [*(["patched task", "alpha"] if tasks else []), "test set", "role", "n", "zero-shot", "fine-tuned", "patched"]
    body = []
    for row in rows:
        change = f"{float(row['change']):+.1f}" + (
            f" ({float(row['low']):+.1f} to {float(row['high']):+.1f})" if row["low"] else ""
        )
        cells = [row[name] for name in ("test_set", "role", "n", "zero_shot", "fine_tuned", "patched")]
        body.append([*([row["task"], row["alpha"]] if tasks else []), *cells, change])
    return [*headings, "change"], body


def transfer_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the effects of `transfer-study`, by patched task, then their means over domains and over halves."""
    chosen = [run for run in runs if run.finished and run.identity["benchmark"] == "transfer-study"]
    every = effects([run for run in chosen if run.identity["strategy"] == "paint-single"])
    if not every:
        return []
    whole = whole_domains(chosen[0])
    rows = [{**effect._asdict(), "verdict": effect.verdict} for effect in every]
    for title, pairs in (
        ("mean of domains", [(e.patched_task, e.test) for e in every if e.patched_task in whole and e.test in whole]),
        ("mean of halves", [(e.patched_task, e.test) for e in every if e.halves]),
    ):
        if pairs:
            mean_of_pairs = mean_effect(chosen, pairs)
            ends = {"change": mean_of_pairs.change, "low": mean_of_pairs.low, "high": mean_of_pairs.high}
            rows.append({"patched_task": title, "test": f"{len(pairs)} pairs", "seeds": len(chosen), **ends})
    return [{name: _text(value) for name, value in row.items()} for row in rows]


def paint_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return PAINT's main table, "" for missing values."""
    chosen = [run for run in runs if run.finished and run.identity["benchmark"] == "paint"]
    methods = {name: [run for run in chosen if run.identity["strategy"] == name] for name in STRATEGIES}
    rows = []
    for row in main_table(methods):
        raw = {state: _text(value.mean) for state, value in zip(STATES, row.raw, strict=True)}
        relative = {f"relative_{state}": _text(value.mean) for state, value in zip(STATES, row.relative, strict=True)}
        rows.append({"test_sets": row.test_sets, "method": row.method, "seeds": row.seeds, **raw, **relative})
    return rows


def transfer_table(rows: Sequence[dict[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return a page's table of the means and of the pairs that help or hurt, the largest change first."""
    means = [row for row in rows if not row["verdict"]]
    shown = sorted((row for row in rows if row["verdict"] in ("helps", "hurts")), key=lambda row: -float(row["change"]))
    body = []
    for row in (*means, *shown):
        change = f"{float(row['change']):+.1f} ({float(row['low']):+.1f} to {float(row['high']):+.1f})"
        body.append([row["patched_task"], row["test"], change, row["verdict"] or "-"])
    return ["patched on", "tested on", "change in points (95 %)", "verdict"], body


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.1f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"
    return value


def main() -> None:
    """Write the CSV files from the records of a folder. A study without finished runs keeps its file."""
    parser = argparse.ArgumentParser(prog="python -m tools.case_tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", help="folders of results")
    every = read(parser.parse_args().results)
    of_sizes = {run.key for size in sizes(every) for run in size.runs}
    runs = [run for run in every if run.key not in of_sizes]
    cases = sorted(case_rows(runs), key=lambda row: (row["benchmark"], row["strategy"]))
    for name, columns, rows in (
        ("cases", COLUMNS, cases),
        ("transfer", TRANSFER_COLUMNS, transfer_rows(runs)),
        ("paint", PAINT_COLUMNS, paint_rows(runs)),
        ("generalisation", GENERALISATION_COLUMNS, generalisation_rows(runs)),
        ("scale", SCALE_COLUMNS, scale_rows(every)),
    ):
        if rows:
            with (FOLDER / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
                writer.writeheader()
                writer.writerows(rows)
            print(f"wrote {FOLDER / name}.csv ({len(rows)} rows)")


if __name__ == "__main__":
    main()
