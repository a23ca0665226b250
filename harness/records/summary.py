"""Summarise the accuracy matrix of a run. Pure functions, so any summary can be recomputed from `accuracy.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.names import SEEN
from metrics import matrix
from metrics.suite import Measure


class Percent(NamedTuple):
    """An accuracy without its counts."""

    percent: float


class HasPercent(Protocol):
    """An accuracy in percent."""

    @property
    def percent(self) -> float:
        """100 x correct / n."""


Rows = Mapping[int, Mapping[tuple[str, str], HasPercent]]
"""`rows[after][stream, task]`, after 0..T."""


def summarise(rows: Rows, tasks: Sequence[str], retained: Sequence[str], measures: Sequence[Measure] = ()) -> dict[str, float]:
    """Return the summary of a run: transfer, average, last, forgetting, BWT and retention, and the mean zero-shot IIMM.

    Accuracies are in percent, their differences in points. Undefined values are NaN. If the rows have a task `SEEN`, the
    summary also has `cil_average`, the mean of its accuracy over the steps, and `cil_last`, its last accuracy (ZSCL's
    class-incremental Avg and Last).

    Args:
        rows: the accuracy matrix.
        tasks: names of the tasks in order.
        retained: names of the held-out domains that count for Retention, which are all but a benchmark's targets.
        measures: the measures of the run.
    """
    R = accuracy_rows(rows, "test", tasks)
    held = accuracy_rows(rows, "heldout", retained)
    retention = matrix.retention(R[1:], R[0], held[1:], held[0])
    iimm = [m.value for m in measures if m.measure == "iimm_zero_shot" and m.value == m.value]
    seen = [rows[after]["test", SEEN].percent for after in sorted(rows) if ("test", SEEN) in rows[after]]
    return {
        **({"cil_average": float(np.mean(seen)), "cil_last": seen[-1]} if seen else {}),
        **summary_of(R[1:]),
        "retention": retention.summary,
        "iimm_mean": float(np.mean(iimm)) if iimm else float("nan"),
    }


def zero_shot_summary(rows: Rows, tasks: Sequence[str]) -> dict[str, float]:
    """Return the summary of a model that never changes from row 0, as a reference for the others."""
    row = accuracy_rows({0: rows[0]}, "test", tasks)[0]
    return {**summary_of(np.tile(row, (len(tasks), 1))), "retention": 100.0}


def summary_of(R: NDArray[np.float64]) -> dict[str, float]:
    """Return transfer, average, last, forgetting and BWT of the accuracy matrix R [T, T] (`metrics.matrix`)."""
    return {
        "transfer": matrix.transfer(R),
        "average": matrix.average(R),
        "last": matrix.last(R),
        "forgetting": matrix.forgetting(R),
        "bwt": matrix.backward_transfer(R),
    }


def accuracy_rows(rows: Rows, stream: str, names: Sequence[str]) -> NDArray[np.float64]:
    """Return accuracies in percent, [rows, names], rows in the order of `after`."""
    return np.array([[rows[after][stream, name].percent for name in names] for after in sorted(rows)]).reshape(
        len(rows), len(names)
    )
