"""What a report reads: the records of runs as plain arrays and rows. Imports neither torch nor Avalanche."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records import TRAIN_COLUMNS, read_csv, reading
from harness.run_json import read_run
from metrics import matrix
from models.registry import UserError

# Of train.csv: everything else is the loss and the method's own terms.
NOT_TERMS = set(TRAIN_COLUMNS) - {"loss"}


@dataclass(frozen=True)
class Run:
    """One run: its document and its tables. Percent; what was not recorded is missing or NaN.

    `cells[after, stream, task]` is an accuracy; `measures` are (experience, measure, value); `losses` maps a term to
    (experience, value) in the order of the updates.
    """

    folder: Path
    document: dict[str, Any]
    cells: dict[tuple[int, str, str], float] = field(default_factory=dict)
    measures: list[tuple[int, str, float]] = field(default_factory=list)
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        return self.document["identity"]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.identity["tasks"])

    @property
    def heldout(self) -> tuple[str, ...]:
        return tuple(self.identity["heldout"])

    @property
    def finished(self) -> bool:
        return self.document["status"] == "finished"

    @property
    def group(self) -> str:
        """The same for runs that agree in everything but the seed."""
        return json.dumps({k: v for k, v in self.identity.items() if k != "seed"}, sort_keys=True)

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


def read(roots: Sequence[Path]) -> list[Run]:
    """The runs in or below folders, or of `run.json` files. A copy counts once; a finished one goes before others.

    Raises UserError for a root that does not exist and, naming the file, for a damaged record.
    """
    found: dict[Path, None] = {}
    for root in roots:
        if not root.exists():
            raise UserError(f"There are no results at {str(root)!r}.")
        found.update(dict.fromkeys(p.resolve() for p in ([root] if root.is_file() else sorted(root.rglob("run.json")))))
    runs = [_run(path) for path in found]
    kept = {run.document["key"]: run for run in sorted(reversed(runs), key=lambda run: run.finished)}
    return [run for run in runs if kept[run.document["key"]] is run]


def _run(path: Path) -> Run:
    document, folder = read_run(path), path.parent
    cells = {
        (int(row["after"]), row["stream"], row["task"]): _number(row["accuracy"])
        for row in _rows(folder / "accuracy.csv", "after", "stream", "task", "accuracy")
    }
    measures = [
        (int(row["experience"]), row["measure"], _number(row["value"]))
        for row in _rows(folder / "measures.csv", "experience", "measure", "value")
    ]
    losses: dict[str, list[tuple[int, float]]] = {}
    for row in _rows(folder / "train.csv", "after"):
        for name, value in row.items():
            if name not in NOT_TERMS:
                losses.setdefault(name, []).append((int(row["after"]), _number(value)))
    return Run(folder, document, cells, measures, losses)


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with reading(path):
        rows = read_csv(path)
        for number, row in enumerate(rows, start=1):
            for name in columns:
                if name not in row:
                    raise ValueError(f"it has no column {name}")
                if name in ("after", "experience") and int(row[name]) < 0:
                    raise ValueError(f"row {number} is of the experience {row[name]}")
        return rows


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
