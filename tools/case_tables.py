"""Measured results of case studies: `python -m tools.case_tables RESULTS` writes reference_data/tables/cases.csv from records.

One row per test set of a patch, means over seeds, in percent and points. `low` and `high` are the ends of the 95 % t interval
over seeds of the change, patched minus zero-shot. `tools.pages` writes the tables of the pages from this file.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.patches import Curve, Patch, patches
from harness.records.runs import Run, read
from harness.report.patch_figures import role
from harness.report.statistics import mean

FILE = Path(__file__).parents[1] / "reference_data" / "tables" / "cases.csv"
COLUMNS = (
    *("benchmark", "edition", "model", "strategy", "task", "test_set", "role", "n", "seeds", "alpha"),
    *("zero_shot", "fine_tuned", "patched", "change", "low", "high"),
)


def case_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the rows of the finished runs that have curves. Seeds are averaged; other tasks of a stream are left out."""
    cells: dict[tuple[str, ...], list[tuple[Patch, Curve]]] = {}
    for run in runs:
        if run.finished:
            where = tuple(str(run.identity[name]) for name in ("benchmark", "edition", "model", "strategy"))
            for patch in patches(run.document.get("searches")):
                for curve in patch.curves:
                    if (kind := role(run, patch, curve)) != "other":
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


def main() -> None:
    """Write the CSV from the records of a folder."""
    parser = argparse.ArgumentParser(prog="python -m tools.case_tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", help="folders of results")
    rows = case_rows(read(parser.parse_args().results))
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["benchmark"], row["strategy"])))
    print(f"wrote {FILE} ({len(rows)} rows)")


if __name__ == "__main__":
    main()
