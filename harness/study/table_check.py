"""Check the table of a study against the records of its cells, where they are beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.records.files import read_json, reading
from harness.study.study_tables import row as row_of
from metrics.study_table import IDENTITY, OUTCOMES, measure_columns
from models.registry import UserError

CLOSE = 1e-4
"""Relative: tables are written with six digits."""


def check_cells(rows: pd.DataFrame, folder: Path) -> None:
    """Raise UserError, naming row and column, for outcomes or measures that are not those of the cells in a study's folder.

    A table without cells beside it, such as one that was sent alone, is not checked.
    """
    measures = measure_columns(rows)
    for number, row in enumerate(rows.to_dict("records"), start=2):
        path = folder / f"{row['domain']}-{row['tuning']}-{row['seed']}" / "cell.json"
        record = read_json(path)
        if record is None:
            continue
        with reading(path):
            names = record["after"]["test"]
        befores = {name: folder / f"zero-shot-{row['seed']}" / f"{name}.json" for name in names}
        before = {name: found for name, at in befores.items() if (found := read_json(at)) is not None}
        if len(before) < len(names):
            continue
        with reading(path):
            made = row_of(record, before, [m for m in measures if m in before[row["domain"]]["measures"]])
        for name in (*IDENTITY, *OUTCOMES, *measures):
            if name in row and name in made and not _same(row[name], made[name]):
                raise UserError(
                    f"{folder / 'table.csv'} contradicts its cells: {name} in row {number} is {row[name]}, but by {path} it is "
                    f"{made[name]}. Run the study again: it writes the table from its cells."
                )


def _same(written: Any, value: Any) -> bool:
    if isinstance(written, str) or value is None:
        return str(written) == ("" if value is None else str(value))
    if written != written or value != value:
        return bool(written != written and value != value)
    return math.isclose(written, value, rel_tol=CLOSE, abs_tol=CLOSE)
