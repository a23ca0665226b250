"""Read and check the runs in results folders, for the leaderboard, the report and comparisons.

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
from harness.records.run_check import Contradiction, check_digests, check_finished, check_identity, read_accuracy, read_measures
from harness.records.run_json import read_run, retained
from metrics import matrix
from models.registry import UserError

# Columns of train.csv other than the loss and the method's terms.
NOT_TERMS = set(TRAIN_COLUMNS) - {"loss"}
FEW_UPDATES = 10
"""Two runs with fewer losses can have equal losses by chance."""


@dataclass(frozen=True)
class Run:
    """A run: its document and its tables. Accuracies are in percent. Values that were not recorded are missing or NaN.

    `cells[after, stream, task]` is an accuracy. `measures` holds (experience, measure, value). `source` tells where a record is
    from (`harness.records.elsewhere`), and `address` is the address of its folder on the hub.
    """

    folder: Path
    document: dict[str, Any]
    cells: dict[tuple[int, str, str], float] = field(default_factory=dict)
    measures: list[tuple[int, str, float]] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] | None = None
    source: str = "run"
    address: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers of the run."""
        identity: dict[str, Any] = self.document["identity"]
        return identity

    @property
    def key(self) -> str:
        """The hash of the identity."""
        return str(self.document["key"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks in order."""
        return tuple(self.identity["tasks"])

    @property
    def heldout(self) -> tuple[str, ...]:
        """Names of the held-out domains."""
        return tuple(self.identity["heldout"])

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the held-out domains on which training is meant to have an effect (`StreamPlan.targets`)."""
        return tuple(self.identity.get("targets", ()))

    @property
    def retained(self) -> tuple[str, ...]:
        """Names of the held-out domains that count for Retention."""
        return retained(self.identity)

    @property
    def finished(self) -> bool:
        """True if the record says that the run is finished."""
        return bool(self.document["status"] == "finished")

    @cached_property
    def group(self) -> str:
        """A text that is the same for runs that differ only in their seed."""
        return json.dumps({k: v for k, v in self.identity.items() if k != "seed"}, sort_keys=True)

    @cached_property
    def terms(self) -> dict[str, list[tuple[int, float]]]:
        """The loss and the method's terms by name: (experience, value) in the order of the updates.

        Read from train.csv, which may be large, on first use. Raises UserError for a damaged file.
        """
        return _read_losses(self.folder / "train.csv") if self.losses is None else self.losses

    def rows(self, stream: str, names: Sequence[str]) -> NDArray[np.float64]:
        """Return accuracies [T + 1, names], row 0 zero-shot. Missing cells are NaN."""
        rows = range(len(self.tasks) + 1)
        return np.array([[self.cells.get((j, stream, n), np.nan) for n in names] for j in rows]).reshape(len(rows), len(names))

    def learning(self) -> float:
        """Return the mean over tasks of R[i, i] - R[0, i], the gain of training a task over the initial model, in points."""
        R = self.rows("test", self.tasks)
        return float(np.mean([R[i + 1, i] - R[0, i] for i in range(len(self.tasks))]))

    def forgetting(self) -> float:
        """Return the forgetting of `metrics.matrix`, in points; NaN with one task or missing cells."""
        return matrix.forgetting(self.rows("test", self.tasks)[1:])


def read(roots: Sequence[str | Path], say: Callable[[str], None] = complain) -> list[Run]:
    """Read and check the runs in or below folders, or of `run.json` files. A copy of a run counts once.

    Symbolic links are followed (`harness.records.find_runs.find`). Of several runs with one key, a finished one is preferred.

    Args:
        roots: folders and run.json files. A path that does not exist has no runs.
        say: called with a sentence for each folder or run that is left out.

    Raises:
        UserError: naming the file, for a damaged record, one that contradicts itself, or one whose numbers are those of another
            run under another identity.
    """
    return merged([read_one(path) for path in find(roots, say)], say)


def merged(runs: Sequence[Run], say: Callable[[str], None] = complain) -> list[Run]:
    """Return each run once. Of several runs with one key, a finished one is preferred, then the first one.

    Of two runs with the same numbers and times under different keys, one is a copy whose identity was changed. If it is from
    elsewhere it is left out. `say` is called with a sentence for each run that is left out for its numbers.

    Raises:
        Contradiction: for a copy that is not from elsewhere.
    """
    preferred = {run.key: run for run in sorted(reversed(runs), key=lambda run: run.finished)}
    for run in runs:
        shown = preferred[run.key]
        if run is not shown and run.finished and run.cells != shown.cells:
            say(f"{run.folder} and {shown.folder} are the same run with different numbers; the second is shown.")
    unique = [run for run in runs if preferred[run.key] is run]
    forged: set[str] = set()
    for run, other in _copies([run for run in unique if run.finished]):
        error = _contradiction(run, other)
        if run.source == "run":
            raise error
        say(f"{error.path} contradicts itself: {error.problem}. It is left out.")
        forged.add(run.key)
    return [run for run in unique if run.key not in forged]


def read_one(path: Path) -> Run:
    """Read and check the run of a `run.json`. Raises UserError as `read`."""
    document, folder = read_run(path), path.parent
    if document is None:
        raise UserError(f"There is no record {path}.")
    check_identity(document, path)
    tasks, heldout = document["identity"]["tasks"], document["identity"]["heldout"]
    cells = read_accuracy(folder / "accuracy.csv", tasks, heldout, document.get("samples"))
    measures = read_measures(folder / "measures.csv", tasks)
    if document["status"] == "finished":
        check_finished(document, path, cells, measures)
        check_digests(document, folder)
    percent = {place: cell.percent for place, cell in cells.items()}
    return Run(folder, document, percent, [(m.experience, m.measure, m.value) for m in measures])


def _read_losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the columns of a train.csv that are losses or terms."""
    losses: dict[str, list[tuple[int, float]]] = {}
    with reading(path):
        for number, row in enumerate(read_csv(path), start=2):
            if (after := int(row["after"])) < 0:
                raise ValueError(f"row {number} belongs to experience {after}, which does not exist")
            for name, value in row.items():
                if name not in NOT_TERMS:
                    losses.setdefault(name, []).append((after, _number(value)))
    return losses


def _number(text: str) -> float:
    """Return a number, or NaN for any other text."""
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def check_copies(runs: Sequence[Run]) -> None:
    """Raise Contradiction for two runs with different keys where one is a copy of the other with its identity changed."""
    for run, other in _copies(runs):
        raise _contradiction(run, other)


def _copies(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Yield each run that is a copy of an earlier one with its identity changed, and that one."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(run.cells.items())), []).append(run)
    for group in (group for group in groups.values() if len(group) > 1):
        for fingerprint in (_document_fingerprint, _loss_fingerprint):
            first: dict[str, Run] = {}
            for run in group:
                if (text := fingerprint(run)) is None:
                    continue
                other = first.setdefault(text, run)
                # Options without effect give the same losses, but another seed draws other batches.
                reseeded = run.identity["seed"] != other.identity["seed"]
                if other.key != run.key and (fingerprint is _document_fingerprint or reseeded):
                    yield run, other


def _contradiction(run: Run, other: Run) -> Contradiction:
    """Return the error for a run that is a copy of another run."""
    names = [*dict.fromkeys([*run.identity, *other.identity])]
    differences = [
        f"{name} {other.identity.get(name)!r:.40} and {run.identity.get(name)!r:.40}"
        for name in names
        if run.identity.get(name) != other.identity.get(name)
    ]
    return Contradiction(
        run.folder / "run.json",
        f"it has every number of {other.folder}, also its times or losses, but another identity ({', '.join(differences)})",
    )


def _document_fingerprint(run: Run) -> str | None:
    """Return the document without its identity as text; None without a starting time, as in a record made up for a test."""
    if not run.document.get("started"):
        return None
    rest = {name: value for name, value in run.document.items() if name not in ("key", "identity", "request")}
    with reading(run.folder / "run.json"):
        return json.dumps(rest, sort_keys=True)


def _loss_fingerprint(run: Run) -> str | None:
    """Return the losses as text, or None if there are too few different ones to tell two runs apart."""
    rows = read_csv(run.folder / "train.csv")
    losses = [row.get("loss", "") for row in rows]
    return json.dumps(losses) if len(losses) >= FEW_UPDATES and len(set(losses)) > 1 else None


def present(roots: Sequence[str | Path]) -> Iterator[Path]:
    """Yield the roots as paths. Raises UserError for a root that does not exist."""
    for root in roots:
        if not Path(root).exists():
            raise UserError(f"There are no results at {str(root)!r}.")
        yield Path(root)
