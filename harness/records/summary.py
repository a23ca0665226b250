"""From the rows of a run to its summary: pure, so that any summary can be recomputed from `accuracy.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.names import SEEN
from metrics import matrix


class Percent(NamedTuple):
    """An accuracy of which nothing else is known."""

    percent: float


Cells = Mapping[int, Mapping[tuple[str, str], Any]]


def summarise(rows: Cells, tasks: Sequence[str], heldout: Sequence[str], measures: Sequence[Any] = ()) -> dict[str, float]:
    """Transfer, average, last, forgetting, BWT, retention in percent (points), and the mean zero-shot IIMM.

    `rows[after][stream, task]` has a `.percent`; after 0..T. Undefined values are NaN. Where rows have a task `SEEN`, also
    `cil_average`, its mean over the steps, and `cil_last`, after the last (ZSCL's class-incremental Avg and Last).
    """
    R = accuracy_rows(rows, "test", tasks)
    held = accuracy_rows(rows, "heldout", heldout)
    kept = matrix.retention(R[1:], R[0], held[1:], held[0])
    iimm = [m.value for m in measures if m.measure == "iimm_zero_shot" and m.value == m.value]
    seen = [rows[after]["test", SEEN].percent for after in sorted(rows) if ("test", SEEN) in rows[after]]
    return {
        **({"cil_average": float(np.mean(seen)), "cil_last": seen[-1]} if seen else {}),
        **summary_of(R[1:]),
        "retention": kept.summary,
        "iimm_mean": float(np.mean(iimm)) if iimm else float("nan"),
    }


def zero_shot_summary(rows: Cells, tasks: Sequence[str]) -> dict[str, float]:
    """The same numbers of a model that never changes from row 0: what the others are read against."""
    row = accuracy_rows({0: rows[0]}, "test", tasks)[0]
    return {**summary_of(np.tile(row, (len(tasks), 1))), "retention": 100.0}


def summary_of(R: NDArray[np.float64]) -> dict[str, float]:
    """What the matrix R of `metrics.matrix` says by itself: transfer, average, last, forgetting and BWT."""
    return {
        "transfer": matrix.transfer(R),
        "average": matrix.average(R),
        "last": matrix.last(R),
        "forgetting": matrix.forgetting(R),
        "bwt": matrix.backward_transfer(R),
    }


def accuracy_rows(rows: Cells, stream: str, names: Sequence[str]) -> NDArray[np.float64]:
    """Percent, [rows, names], rows in order of `after`."""
    return np.array([[rows[after][stream, name].percent for name in names] for after in sorted(rows)]).reshape(
        len(rows), len(names)
    )
