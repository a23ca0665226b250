"""Check every record of some places: its files against the schema, and against each other.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.elsewhere import Record, problem, read_record, records_of
from harness.records.find_runs import find
from harness.records.runs import Run, merged, present, read_one
from harness.records.schema import check_schema
from models.registry import UserError


def check(results: Sequence[str], places: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Return the number of records, and a sentence for each problem.

    Args:
        results: folders and `run.json` files of the user, in which links are followed.
        places: hub datasets, folders and `run.json` files of others (`harness.records.elsewhere`).

    Raises:
        UserError: for a place that is not there or cannot be reached.
    """
    runs: list[Run] = []
    problems: list[str] = []
    paths = find(present(results), problems.append)
    for path in paths:
        try:
            check_schema(path.parent)
            runs.append(read_one(path))
        except UserError as error:
            problems.append(str(error))
    records = [record for place in places for record in records_of(place, problems.append)]
    for record in records:
        _add(record, runs, problems)
    try:
        merged(runs, problems.append)
    except UserError as error:
        problems.append(str(error))
    return len(paths) + len(records), problems


def _add(record: Record, runs: list[Run], problems: list[str]) -> None:
    """Read a record from elsewhere, and add its run or its problem."""
    try:
        runs.append(read_record(record))
    except UserError as error:
        problems.append(f"{problem(error, record)}.")
