"""The runs of results folders, read and checked: what the leaderboard, the report and comparisons are made from.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.display.console import complain
from harness.records.files import TRAIN_COLUMNS, read_csv, reading
from harness.records.find_runs import find
from harness.records.run_check import Contradiction, check_finished, check_identity, check_written, read_accuracy, read_measures
from harness.records.run_json import read_run
from metrics import matrix
from models.registry import UserError

# Of train.csv: everything else is the loss and the method's own terms.
NOT_TERMS = set(TRAIN_COLUMNS) - {"loss"}
FEW_UPDATES = 10
"""Fewer losses can be equal by chance."""


@dataclass(frozen=True)
class Run:
    """One run: its document and its tables. Percent; what was not recorded is missing or NaN.

    `cells[after, stream, task]` is an accuracy; `measures` are (experience, measure, value).
    """

    folder: Path
    document: dict[str, Any]
    cells: dict[tuple[int, str, str], float] = field(default_factory=dict)
    measures: list[tuple[int, str, float]] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return self.document["identity"]

    @property
    def key(self) -> str:
        return self.document["key"]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.identity["tasks"])

    @property
    def heldout(self) -> tuple[str, ...]:
        return tuple(self.identity["heldout"])

    @property
    def finished(self) -> bool:
        return self.document["status"] == "finished"

    @cached_property
    def group(self) -> str:
        """The same for runs that agree in everything but the seed."""
        return json.dumps({k: v for k, v in self.identity.items() if k != "seed"}, sort_keys=True)

    @cached_property
    def terms(self) -> dict[str, list[tuple[int, float]]]:
        """Return the loss and the method's own terms by name: (experience, value) in the order of the updates.

        Read from train.csv, which may be large, when it is asked for. Raises UserError for a damaged file.
        """
        return _losses(self.folder / "train.csv") if self.losses is None else self.losses

    def rows(self, stream: str, names: Sequence[str]) -> NDArray[np.float64]:
        """Accuracies [T + 1, names], row 0 zero-shot; NaN where there is none."""
        rows = range(len(self.tasks) + 1)
        return np.array([[self.cells.get((j, stream, n), np.nan) for n in names] for j in rows]).reshape(len(rows), len(names))

    def learning(self) -> float:
        """Mean over tasks of R[i, i] - R[0, i]: what training a task gains on it over the initial model, in points."""
        R = self.rows("test", self.tasks)
        return float(np.mean([R[i + 1, i] - R[0, i] for i in range(len(self.tasks))]))

    def forgetting(self) -> float:
        """Forgetting of `metrics.matrix`, in points; NaN with one task or missing cells."""
        return matrix.forgetting(self.rows("test", self.tasks)[1:])


def read(roots: Sequence[str | Path], say: Callable[[str], None] = complain) -> list[Run]:
    """Read and check the runs in or below folders, or of `run.json` files. A copy of a run counts once.

    Symbolic links are followed (`harness.records.find_runs.find`). Of runs with one key a finished one goes before others.

    Args:
        roots: folders and run.json files; one that does not exist has no runs.
        say: called with each thing that is left out.

    Raises:
        UserError: naming the file, for a damaged record, one that contradicts itself, or one whose numbers are those of another
            run under another identity.
    """
    runs = [read_one(path) for path in find(roots, say)]
    kept = {run.key: run for run in sorted(reversed(runs), key=lambda run: run.finished)}
    for run in runs:
        first = kept[run.key]
        if run is not first and run.finished and run.cells != first.cells:
            say(f"{run.folder} and {first.folder} are the same run with different numbers; the second is shown.")
    runs = [run for run in runs if kept[run.key] is run]
    check_copies([run for run in runs if run.finished])
    return runs


def read_one(path: Path) -> Run:
    """Read and check the run of a `run.json`. Raises UserError as `read`."""
    document, folder = read_run(path), path.parent
    check_identity(document, path)
    cells = read_accuracy(folder / "accuracy.csv", document)
    measures = read_measures(folder / "measures.csv", document)
    if document["status"] == "finished":
        check_finished(document, path, cells, measures)
        check_written(document, folder)
    percent = {place: cell.percent for place, cell in cells.items()}
    return Run(folder, document, percent, [(*m,) for m in measures])


def _losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    with reading(path):
        for number, row in enumerate(read_csv(path), start=2):
            if (after := int(row["after"])) < 0:
                raise ValueError(f"row {number} is of the experience {after}")
            for name, value in row.items():
                if name not in NOT_TERMS:
                    found.setdefault(name, []).append((after, _number(value)))
    return found


def _number(text: str) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def check_copies(runs: Sequence[Run]) -> None:
    """Raise Contradiction for two runs with different keys where one is a copy of the other with its identity changed."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(repr(sorted(run.cells.items())), []).append(run)
    for group in (group for group in alike.values() if len(group) > 1):
        for trace in (_rest, _updates):
            first: dict[str, Run] = {}
            for run in group:
                if (what := trace(run)) is None:
                    continue
                other = first.setdefault(what, run)
                # Options that change no number make the same losses, but another seed draws other batches.
                if other.key != run.key and (trace is _rest or run.identity["seed"] != other.identity["seed"]):
                    raise Contradiction(run.folder / "run.json", _copied(run, other))


def _copied(run: Run, other: Run) -> str:
    names = [*dict.fromkeys([*run.identity, *other.identity])]
    said = [
        f"{name} {other.identity.get(name)!r:.40} and {run.identity.get(name)!r:.40}"
        for name in names
        if run.identity.get(name) != other.identity.get(name)
    ]
    return f"it has every number of {other.folder}, also its times or losses, but another identity ({', '.join(said)})"


def _rest(run: Run) -> str | None:
    """What a record holds besides its identity; None for one without a start, which may be made up for a test."""
    if not run.document.get("started"):
        return None
    rest = {name: value for name, value in run.document.items() if name not in ("key", "identity", "request")}
    with reading(run.folder / "run.json"):
        return json.dumps(rest, sort_keys=True)


def _updates(run: Run) -> str | None:
    """The losses as text; None where there are too few different ones to tell two runs apart."""
    rows = read_csv(run.folder / "train.csv")
    losses = [row.get("loss", "") for row in rows]
    return json.dumps(losses) if len(losses) >= FEW_UPDATES and len(set(losses)) > 1 else None


def present(roots: Sequence[str | Path]) -> Iterator[Path]:
    """The roots as paths. Raises UserError for one that does not exist."""
    for root in roots:
        if not Path(root).exists():
            raise UserError(f"There are no results at {str(root)!r}.")
        yield Path(root)
