"""Check the table of a study against the records of its cells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from harness.records.files import read_json, reading
from harness.study.study_tables import cell_row
from metrics.study_table import IDENTITY, OUTCOMES, measure_columns
from models.registry import UserError

CLOSE = 1e-4
"""Relative tolerance. Tables are written with six digits."""


def check_cells(rows: pd.DataFrame, folder: Path) -> None:
    """Check outcomes and measures of a table against the records of the cells in a study's folder.

    Rows without a record are not checked, so a table can be used without the rest of its folder.

    Args:
        rows: table of the cells.
        folder: folder of the study.

    Raises:
        UserError: naming row and column, if the table contradicts a record.
    """
    measures = measure_columns(rows)
    for number, row in enumerate(rows.to_dict("records"), start=2):
        path = folder / f"{row['domain']}-{row['tuning']}-{row['seed']}" / "cell.json"
        record = read_json(path)
        if record is None:
            continue
        with reading(path):
            domains = record["after"]["test"]
        records = {name: read_json(folder / f"zero-shot-{row['seed']}" / f"{name}.json") for name in domains}
        before = {name: zero_shot for name, zero_shot in records.items() if zero_shot is not None}
        if len(before) < len(domains):
            continue
        with reading(path):
            expected = cell_row(record, before, [m for m in measures if m in before[row["domain"]]["measures"]])
        for name in (*IDENTITY, *OUTCOMES, *measures):
            if name in row and name in expected and not _same(row[name], expected[name]):
                raise UserError(
                    f"{folder / 'table.csv'} contradicts the records of its cells: {name} in row {number} is {row[name]}, but "
                    f"{path} gives {expected[name]}. Run the study again to write the table from its cells."
                )


def _same(written: Any, value: Any) -> bool:
    if isinstance(written, str) or value is None:
        return str(written) == ("" if value is None else str(value))
    if written != written or value != value:
        return bool(written != written and value != value)
    return math.isclose(written, value, rel_tol=CLOSE, abs_tol=CLOSE)
