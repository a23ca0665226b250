"""Checks of a run's record against itself, so that no number that somebody changed is shown as measured.

The key is the hash of the identity; `request` repeats the identity; `accuracy.csv` holds counts, percentages and every cell of
the matrix once; `summary` follows from the two tables. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.names import SEEN
from harness.config.run_config import RunConfig
from harness.records.files import digest, read_csv, read_json, reading
from harness.records.run_json import STATUSES, key_of
from harness.records.summary import Percent, summarise
from models.registry import UserError
from models.setting import described

KEY = re.compile(r".+-([0-9a-f]{10})")
"""The name of a run's folder: a strategy and a key."""
REPEATED = tuple(name for name, setting in described(RunConfig).items() if setting.identity)
"""Values of `request` that the identity has under the same name."""
WRITTEN = ("accuracy.csv", "measures.csv")
"""Tables whose digests are checked."""
CLOSE = 1e-6
"""Points by which a percentage may differ from the one that follows from the counts."""


class Contradiction(UserError):
    """A record in which one value contradicts another."""

    def __init__(self, path: Path, what: str):
        self.path, self.what = path, what
        super().__init__(
            f"{path} contradicts itself: {what}. Restore it from a copy, move its folder away, or repeat the run with --fresh."
        )


class Cell(NamedTuple):
    """An accuracy of `accuracy.csv`: percent, and the counts that it is made of."""

    percent: float
    correct: int
    n: int


class Measured(NamedTuple):
    """A row of `measures.csv`."""

    experience: int
    measure: str
    value: float


Cells = dict[tuple[int, str, str], Cell]


def check_identity(document: Mapping[str, Any], path: Path) -> None:
    """Check that the key is the hash of the identity, that the folder has its name, and that `request` repeats it.

    Raises Contradiction, naming both sides.
    """
    identity, key = document["identity"], document["key"]
    with reading(path):
        expected = key_of(identity)
    if expected != key:
        raise Contradiction(
            path, f"its key is {key}, but the hash of its identity is {expected}: one of them was changed after the run"
        )
    folder = path.parent
    for name in dict.fromkeys((folder.name, folder.resolve().name)):
        if (match := KEY.fullmatch(name)) is not None and match[1] != key:
            raise Contradiction(path, f"its key is {key}, but its folder is called {name}")
    if document["status"] not in STATUSES:
        raise Contradiction(path, f"its status is {document['status']!r}, which is none of {', '.join(STATUSES)}")
    for name, asked, used in _repeated(document.get("request"), identity):
        raise Contradiction(path, f"request.{name} is {asked!r}, but identity.{name} is {used!r}")


def _repeated(request: Any, identity: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """Values that `request` and identity should share and do not. What older records lack is not compared."""
    if not isinstance(request, dict):
        return
    pairs = [(name, request.get(name), identity[name]) for name in REPEATED if name in identity]
    if identity.get("strategy_sha256") is None and isinstance(request.get("strategy"), str):
        plugins = request.get("plugins")
        names = list(map(str, plugins if isinstance(plugins, list) else ()))
        # A file's plugin goes by the name of its class, which only the file tells.
        if not any(name.partition(":")[0].endswith(".py") for name in names):
            pairs.append(("strategy", "+".join([request["strategy"], *names]), identity["strategy"]))
    options = request.get("options")
    if isinstance(options, dict):
        pairs += [(f"options.{n}", options.get(n), value) for n, value in identity["options"].items()]
    yield from (pair for pair in pairs if pair[1] is not None and pair[1] != pair[2])


def read_accuracy(path: Path, document: Mapping[str, Any]) -> Cells:
    """Read the cells of `accuracy.csv` by (after, stream, task), in the order of the file.

    Raises Contradiction, naming the row, for an accuracy that is not 100 x correct / n, counts that cannot be, an unknown task,
    and a cell that is there twice; UserError for a file that cannot be read.
    """
    identity, cells = document["identity"], Cells()
    numbers: dict[tuple[int, str, str], int] = {}
    names = {"test": identity["tasks"], "heldout": identity["heldout"]}
    known = {(stream, name) for stream, of in names.items() for name in of}
    sizes = _sizes(document, names)
    with reading(path):
        for number, row in _rows(path, "after", "stream", "task", "accuracy", "correct", "n"):
            after, stream, task = int(row["after"]), row["stream"], row["task"]
            said, correct, n = float(row["accuracy"] or "nan"), int(row["correct"]), int(row["n"])
            if (stream, task) not in known and (stream, task) != ("test", SEEN):
                raise Contradiction(path, f"{_where(number, row)} is of a task that run.json does not name")
            if not 0 <= after <= len(identity["tasks"]):
                raise Contradiction(
                    path, f"{_where(number, row)} is of a step that does not exist: there are {len(identity['tasks'])} tasks"
                )
            if not 0 <= correct <= n:
                raise Contradiction(path, f"{_where(number, row)} has {correct} correct answers of {n}")
            percent = 100 * correct / n if n else math.nan
            if not _same(said, percent):
                raise Contradiction(path, f"{_where(number, row)} has accuracy {said:g}, but {correct} of {n} is {percent:g} %")
            if (after, stream, task) in cells:
                raise Contradiction(path, f"{_where(number, row)} repeats row {numbers[after, stream, task]}")
            if task != SEEN and n != (size := sizes.setdefault((stream, task), n)):
                raise Contradiction(path, f"{_where(number, row)} is of {n} images, elsewhere {task} has {size}")
            cells[after, stream, task] = Cell(percent, correct, n)
            numbers[after, stream, task] = number
    _check_seen(cells, identity["tasks"], path)
    return cells


def _where(number: int, row: Mapping[str, str]) -> str:
    return f"row {number} (after {row['after']}, {row['stream']}, {row['task']})"


def read_measures(path: Path, document: Mapping[str, Any]) -> list[Measured]:
    """Read the rows of `measures.csv`. Raises Contradiction or UserError as `read_accuracy`."""
    found, rows = [], dict[tuple[str, ...], int]()
    tasks = document["identity"]["tasks"]
    with reading(path):
        for number, row in _rows(path, "when", "experience", "task", "measure", "value", "n"):
            experience, n = int(row["experience"]), int(row["n"])
            value = float(row["value"]) if row["value"] else math.nan
            where = f"row {number} ({row['when']} {experience}, {row['measure']})"
            if row["when"] not in ("before", "after") or n < 0:
                raise Contradiction(path, f"{where} is neither before nor after an experience, or of {n} images")
            if not 1 <= experience <= len(tasks) or row["task"] != tasks[experience - 1]:
                raise Contradiction(path, f"{where} is of {row['task']!r}, which is not task {experience} in run.json")
            cell = (row["when"], row["experience"], row["measure"])
            if cell in rows:
                raise Contradiction(path, f"{where} repeats row {rows[cell]}")
            rows[cell] = number
            found.append(Measured(experience, row["measure"], value))
    return found


def check_finished(document: Mapping[str, Any], path: Path, cells: Cells, measures: Sequence[Measured]) -> None:
    """Check that a finished run has every cell, and the summary that follows from its tables. `path`: of its run.json.

    Raises Contradiction, naming what differs.
    """
    identity, summary, progress = document["identity"], document.get("summary"), document.get("progress") or {}
    tasks, heldout = identity["tasks"], identity["heldout"]
    table = path.parent / "accuracy.csv"
    if summary is None or document.get("trainable_params") is None:
        raise Contradiction(path, "its status is finished, but it has no summary or no trainable_params")
    if document.get("error") is not None:
        raise Contradiction(path, "its status is finished, but it ended with an error")
    if progress.get("after", len(tasks)) != len(tasks) or progress.get("of", len(tasks)) != len(tasks):
        done = f"{progress.get('after')} of {progress.get('of')}"
        raise Contradiction(path, f"its status is finished with {len(tasks)} tasks, but its progress is {done}")
    if not table.is_file():
        raise UserError(
            f"{table} is missing, so the summary in run.json cannot be checked. Keep the files of a run together, "
            "move its folder away, or repeat the run with --fresh."
        )
    wanted = [("test", task) for task in tasks] + [("heldout", name) for name in heldout]
    for after in range(len(tasks) + 1):
        if missing := [task for stream, task in wanted if (after, stream, task) not in cells]:
            raise Contradiction(table, f"the run is finished, but there is no accuracy after {after} of {', '.join(missing)}")
    # SEEN belongs to all steps or to none.
    seen = [after for after, stream, task in cells if (stream, task) == ("test", SEEN)]
    if seen and len(seen) < len(tasks):
        raise Contradiction(table, f"the run is finished, but it has {SEEN} after {len(seen)} of {len(tasks)} steps")
    rows: dict[int, dict[tuple[str, str], Percent]] = {}
    for (after, stream, task), cell in cells.items():
        rows.setdefault(after, {})[stream, task] = Percent(cell.percent)
    found = summarise(rows, tasks, heldout, [_Named(m.measure, m.value) for m in measures])
    for name in (*found, *(name for name in summary if name not in found)):
        said, value = summary.get(name), found.get(name)
        if value is None or not _same(math.nan if said is None else said, value):
            source = "measures.csv" if name == "iimm_mean" else table.name
            other = "there is no such number" if value is None or value != value else f"it is {value:.4f}"
            given = "missing" if said is None else f"{said:.4f}"
            raise Contradiction(path, f"summary.{name} is {given}, but by {source} {other}: one of them was changed")


def check_written(document: Mapping[str, Any], folder: Path) -> None:
    """Check the tables of a finished run against the digests in its checkpoint, where that is still there.

    Raises Contradiction for a table that is not what the run wrote, and for the checkpoint of another run.
    """
    path = folder / "checkpoint" / "latest.json"
    try:
        found = read_json(path) or {}
    except UserError:  # a damaged checkpoint says nothing about the tables
        return
    if found.get("key", document["key"]) != document["key"]:
        raise Contradiction(path, f"it belongs to the run {found['key']}, but run.json has the key {document['key']}")
    tables: Any = found.get("tables")
    for name in WRITTEN if isinstance(tables, dict) else ():
        if name in tables and tables[name] != digest(read_csv(folder / name)):
            raise Contradiction(folder / name, f"it is not the table that the run wrote, whose digest is in {path}")


class _Named(NamedTuple):
    measure: str
    value: float


def _check_seen(cells: Cells, tasks: Sequence[str], path: Path) -> None:
    """`SEEN` after step j counts the images of tasks 1..j together."""
    if SEEN in tasks:
        return
    for (after, _, task), cell in cells.items():
        if task != SEEN:
            continue
        parts = [cells.get((after, "test", name)) for name in tasks[:after]]
        if not parts or None in parts:
            raise Contradiction(path, f"there is {SEEN} after {after}, but not every task that it counts")
        correct, n = (sum(getattr(part, what) for part in parts) for what in ("correct", "n"))
        if (cell.correct, cell.n) != (correct, n):
            raise Contradiction(
                path, f"{SEEN} after {after} has {cell.correct} of {cell.n}, but its tasks have {correct} of {n} together"
            )


def _sizes(document: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """The number of test images by stream and task, where `samples` of run.json has them."""
    samples = document.get("samples") or {}
    found: dict[tuple[str, str], int] = {}
    for stream, of in names.items():
        counts = samples.get(stream)
        if isinstance(counts, list) and len(counts) == len(of):
            found |= {(stream, name): n for name, n in zip(of, counts, strict=True) if isinstance(n, int)}
    return found


def _rows(path: Path, *columns: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Rows with their numbers in the file, the header being row 1. Raises UserError for a missing column."""
    rows = read_csv(path)
    with reading(path):
        if rows and (missing := [name for name in columns if name not in rows[0]]):
            raise ValueError(f"it has no column {missing[0]}")
    return enumerate(rows, start=2)


def _same(said: float, value: float) -> bool:
    return (said != said) == (value != value) and (value != value or math.isclose(said, value, abs_tol=CLOSE))
