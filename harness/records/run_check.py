"""Check that a run's record agrees with itself, so that no number that somebody changed is shown as measured.

The key is the hash of the identity. `request` repeats values of the identity. `accuracy.csv` holds counts, percentages and
every cell of the matrix once. `summary` follows from the two tables. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.names import SEEN
from harness.config.run_config import RunConfig
from harness.records.files import ACCURACY_COLUMNS, MEASURE_COLUMNS, digest, read_csv, read_json, reading
from harness.records.run_json import STATUSES, key_of, retained
from harness.records.summary import Percent, summarise
from metrics.suite import Measure
from models.registry import UserError
from models.setting import described

FOLDER_NAME = re.compile(r".+-([0-9a-f]{10})")
"""The name of a run's folder: a strategy and a key."""
REPEATED = tuple(name for name, setting in described(RunConfig).items() if setting.identity)
"""Values of `request` that the identity has under the same name."""
DIGESTED = ("accuracy.csv", "measures.csv")
"""Tables whose digests are checked."""
TOLERANCE = 1e-6
"""Points by which a percentage may differ from the one that follows from the counts."""


class Contradiction(UserError):
    """A record in which one value contradicts another."""

    def __init__(self, path: Path, problem: str):
        self.path, self.problem = path, problem
        super().__init__(
            f"{path} contradicts itself: {problem}. Restore it from a copy, move its folder away, or repeat the run with "
            "--fresh."
        )


class Cell(NamedTuple):
    """An accuracy of `accuracy.csv`: percent, and the counts it follows from."""

    percent: float
    correct: int
    n: int


Cells = dict[tuple[int, str, str], Cell]


def check_identity(document: Mapping[str, Any], path: Path) -> None:
    """Check that the key is the hash of the identity, that the folder's name has it, and that `request` repeats the identity.

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
        if (match := FOLDER_NAME.fullmatch(name)) is not None and match[1] != key:
            raise Contradiction(path, f"its key is {key}, but its folder is called {name}")
    if document["status"] not in STATUSES:
        raise Contradiction(path, f"its status is {document['status']!r}, not one of {', '.join(STATUSES)}")
    for name, requested, used in _differences(document.get("request"), identity):
        raise Contradiction(path, f"request.{name} is {requested!r}, but identity.{name} is {used!r}")


def _differences(request: Any, identity: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the values in which `request` and identity differ. Values that older records lack are not compared."""
    if not isinstance(request, dict):
        return
    # A tuning from a file goes by the name of its class, which only the file tells.
    names_code = {"tuning"} if "tuning_sha256" in identity else set()
    pairs = [(name, request.get(name), identity[name]) for name in REPEATED if name in identity and name not in names_code]
    if identity.get("strategy_sha256") is None and isinstance(request.get("strategy"), str):
        plugins = request.get("plugins")
        names = list(map(str, plugins if isinstance(plugins, list) else ()))
        # A file's plugin goes by the name of its class, which only the file tells.
        if not any(name.partition(":")[0].endswith(".py") for name in names):
            pairs.append(("strategy", "+".join([request["strategy"], *names]), identity["strategy"]))
    options = request.get("options")
    if isinstance(options, dict):
        pairs += [(f"options.{name}", options.get(name), value) for name, value in identity["options"].items()]
    yield from (pair for pair in pairs if pair[1] is not None and pair[1] != pair[2])


def read_accuracy(
    path: Path,
    tasks: Sequence[str],
    heldout: Sequence[str],
    samples: Mapping[str, Any] | None = None,
    last: int | None = None,
) -> Cells:
    """Read the cells of an `accuracy.csv` by (after, stream, task), in the order of the file.

    Args:
        path: the file. Without one there are no cells.
        tasks: names of the tasks in order.
        heldout: names of the held-out domains.
        samples: of `run.json`, numbers of images by stream; unknown ones must only agree from row to row.
        last: ignore rows after this experience.

    Raises:
        Contradiction: naming the row, for an accuracy that is not 100 x correct / n, impossible counts, an unknown task, and a
            duplicate cell.
        UserError: for a file that cannot be read.
    """
    cells, row_of = Cells(), dict[tuple[int, str, str], int]()
    names = {"test": tasks, "heldout": heldout}
    known = {("test", SEEN), *((stream, name) for stream, streams_names in names.items() for name in streams_names)}
    sizes = _sizes(samples or {}, names)
    with reading(path):
        for number, row in _numbered_rows(path, ACCURACY_COLUMNS):
            after, stream, task = int(row["after"]), row["stream"], row["task"]
            if last is not None and after > last:
                continue
            recorded, correct, n = float(row["accuracy"] or "nan"), int(row["correct"]), int(row["n"])
            place = f"row {number} (after {after}, {stream}, {task})"
            if (stream, task) not in known:
                raise Contradiction(path, f"{place} is of a task that run.json does not name")
            if not 0 <= after <= len(tasks):
                raise Contradiction(path, f"{place} is of a step that does not exist: there are {len(tasks)} tasks")
            if not 0 <= correct <= n:
                raise Contradiction(path, f"{place} has {correct} correct answers of {n}")
            percent = 100 * correct / n if n else math.nan
            if not _agree(recorded, percent):
                raise Contradiction(path, f"{place} has accuracy {recorded:g}, but {correct} of {n} is {percent:g} %")
            if (after, stream, task) in cells:
                raise Contradiction(path, f"{place} repeats row {row_of[after, stream, task]}")
            if task != SEEN and n != (size := sizes.setdefault((stream, task), n)):
                raise Contradiction(path, f"{place} is of {n} images, elsewhere {task} has {size}")
            cells[after, stream, task] = Cell(percent, correct, n)
            row_of[after, stream, task] = number
    _check_seen(cells, tasks, path)
    return cells


def read_measures(path: Path, tasks: Sequence[str], last: int | None = None) -> list[Measure]:
    """Read the rows of a `measures.csv`, up to experience `last`. Raises Contradiction or UserError as `read_accuracy`."""
    measures, row_of = [], dict[tuple[str, int, str], int]()
    with reading(path):
        for number, row in _numbered_rows(path, MEASURE_COLUMNS):
            experience, n = int(row["experience"]), int(row["n"])
            if last is not None and experience > last:
                continue
            value = float(row["value"]) if row["value"] else math.nan
            place = f"row {number} ({row['when']} {experience}, {row['measure']})"
            if row["when"] not in ("before", "after") or n < 0:
                raise Contradiction(path, f"{place} is neither before nor after an experience, or of {n} images")
            if not 1 <= experience <= len(tasks) or row["task"] != tasks[experience - 1]:
                raise Contradiction(path, f"{place} is of {row['task']!r}, which is not task {experience} in run.json")
            cell = (row["when"], experience, row["measure"])
            if cell in row_of:
                raise Contradiction(path, f"{place} repeats row {row_of[cell]}")
            row_of[cell] = number
            measures.append(Measure(row["when"], experience, row["task"], row["measure"], value, n))
    return measures


def check_finished(document: Mapping[str, Any], path: Path, cells: Cells, measures: Sequence[Measure]) -> None:
    """Check that a finished run has every cell, and the summary that follows from its tables. `path` is that of run.json.

    Raises Contradiction, naming the difference.
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
    columns = [("test", task) for task in tasks] + [("heldout", name) for name in heldout]
    for after in range(len(tasks) + 1):
        if missing := [task for stream, task in columns if (after, stream, task) not in cells]:
            raise Contradiction(table, f"the run is finished, but there is no accuracy after {after} of {', '.join(missing)}")
    # SEEN belongs to all steps or to none.
    steps_seen = [after for after, stream, task in cells if (stream, task) == ("test", SEEN)]
    if steps_seen and len(steps_seen) < len(tasks):
        raise Contradiction(table, f"the run is finished, but it has {SEEN} after {len(steps_seen)} of {len(tasks)} steps")
    rows: dict[int, dict[tuple[str, str], Percent]] = {}
    for (after, stream, task), cell in cells.items():
        rows.setdefault(after, {})[stream, task] = Percent(cell.percent)
    expected = summarise(rows, tasks, retained(identity), measures)
    for name in (*expected, *(name for name in summary if name not in expected)):
        recorded, value = summary.get(name), expected.get(name)
        if value is None or not _agree(math.nan if recorded is None else recorded, value):
            source = "measures.csv" if name == "iimm_mean" else table.name
            correct = "it is undefined" if value is None or value != value else f"it is {value:.4f}"
            shown = "missing" if recorded is None else f"{recorded:.4f}"
            raise Contradiction(path, f"summary.{name} is {shown}, but by {source} {correct}: one of them was changed")


def check_digests(document: Mapping[str, Any], folder: Path) -> None:
    """Check the tables of a finished run against the digests in its checkpoint, if the checkpoint still exists.

    Raises Contradiction for a table that the run did not write, and for the checkpoint of another run.
    """
    path = folder / "checkpoint" / "latest.json"
    try:
        counters = read_json(path) or {}
    except UserError:  # a damaged checkpoint says nothing about the tables
        return
    if counters.get("key", document["key"]) != document["key"]:
        raise Contradiction(path, f"it belongs to the run {counters['key']}, but run.json has the key {document['key']}")
    digests: Any = counters.get("tables")
    for name in DIGESTED if isinstance(digests, dict) else ():
        if name in digests and digests[name] != digest(read_csv(folder / name)):
            raise Contradiction(folder / name, f"it is not the table that the run wrote, whose digest is in {path}")


def _check_seen(cells: Cells, tasks: Sequence[str], path: Path) -> None:
    """Check that `SEEN` after step j counts the images of tasks 1..j together."""
    if SEEN in tasks:
        return
    for (after, _, task), cell in cells.items():
        if task != SEEN:
            continue
        parts = [cells[after, "test", name] for name in tasks[:after] if (after, "test", name) in cells]
        if not parts or len(parts) < after:
            raise Contradiction(path, f"there is {SEEN} after {after}, but not every task that it counts")
        correct, n = sum(part.correct for part in parts), sum(part.n for part in parts)
        if (cell.correct, cell.n) != (correct, n):
            raise Contradiction(
                path, f"{SEEN} after {after} has {cell.correct} of {cell.n}, but its tasks have {correct} of {n} together"
            )


def _sizes(samples: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """Return the numbers of test images by stream and task that `samples` of run.json holds."""
    sizes: dict[tuple[str, str], int] = {}
    for stream, tasks in names.items():
        counts = samples.get(stream)
        if isinstance(counts, list) and len(counts) == len(tasks):
            sizes |= {(stream, name): n for name, n in zip(tasks, counts, strict=True) if isinstance(n, int)}
    return sizes


def _numbered_rows(path: Path, columns: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Return the rows of a table with their numbers, where the header is row 1. Raises UserError for a missing column."""
    rows = read_csv(path)
    with reading(path):
        if rows and (missing := [name for name in columns if name not in rows[0]]):
            raise ValueError(f"it has no column {missing[0]}")
    return enumerate(rows, start=2)


def _agree(recorded: float, value: float) -> bool:
    """Return whether two percentages are equal up to rounding, or both undefined."""
    if math.isnan(recorded) or math.isnan(value):
        return math.isnan(recorded) and math.isnan(value)
    return math.isclose(recorded, value, abs_tol=TOLERANCE)
