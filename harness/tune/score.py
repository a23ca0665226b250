"""The score of a validation run: a metric of its accuracy matrix, also of the tasks so far. Pure functions and records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.names import SEEN
from benchmarks.plan import StreamPlan
from harness.records.files import read_csv
from harness.records.run_json import read_run
from harness.run.run_files import RECORD
from models.registry import UserError, unknown

Matrix = NDArray[np.float64]


class Metric(NamedTuple):
    """A metric that a search can use. `so_far` computes it from the first rows; None: it needs the last row."""

    name: str
    maximise: bool = True
    so_far: Callable[[Matrix, Matrix], float] | None = None

    @property
    def sign(self) -> int:
        """1 if more is better, otherwise -1."""
        return 1 if self.maximise else -1


def _average(R: Matrix, seen: Matrix) -> float:
    return float(R.mean())


def _diagonal(R: Matrix, seen: Matrix) -> float:
    return float(np.diagonal(R).mean())


def _transfer(R: Matrix, seen: Matrix) -> float:
    columns = [R[: min(i, len(R)), i].mean() for i in range(1, R.shape[1])]
    return float(np.mean(columns)) if columns else math.nan


def _cil_average(R: Matrix, seen: Matrix) -> float:
    return float(seen.mean()) if len(seen) else math.nan


METRICS = {
    metric.name: metric
    for metric in (
        Metric("average", so_far=_average),
        Metric("last"),
        Metric("transfer", so_far=_transfer),
        Metric("diagonal", so_far=_diagonal),
        Metric("forgetting", maximise=False),
        Metric("bwt"),
        Metric("retention"),
        Metric("cil_average", so_far=_cil_average),
        Metric("cil_last"),
    )
}
"""`diagonal` is the mean accuracy on each task right after it is trained. The others are metrics of `run.json`."""


def metric_of(name: str | None, plan: StreamPlan) -> Metric:
    """Return a metric by name, by default `average`, or `cil_average` where the classes of all tasks so far compete.

    Raises UserError for an unknown metric and for one that the benchmark does not define.
    """
    competes, several = plan.protocol == "class", len(plan.names) > 1
    if name is None:
        return METRICS["cil_average" if competes else "average"]
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    needs_several = [] if several else ["transfer", "forgetting", "bwt"]
    reasons = {
        **dict.fromkeys(needs_several, "it has a single task"),
        **({} if competes else dict.fromkeys(("cil_average", "cil_last"), f"its protocol is {plan.protocol}, not class")),
        **({} if several or plan.heldout else {"retention": "it has a single task and no held-out domain"}),
    }
    if name in reasons:
        defined = ", ".join(each for each in METRICS if each not in reasons)
        raise UserError(f"{plan.benchmark} does not define the metric {name}, because {reasons[name]}. Defined: {defined}.")
    return METRICS[name]


def score_of(folder: Path, metric: Metric) -> float:
    """Return the metric of a finished run, in percent or points; NaN if it is undefined.

    Raises UserError for a run that is not finished.
    """
    document = read_run(folder / RECORD)
    if document is None or document["status"] != "finished":
        raise UserError(f"The run in {folder} is not finished.")
    if metric.name == "diagonal":
        return score_so_far(folder, document["identity"]["tasks"], metric)[1]
    value = document["summary"].get(metric.name)
    return math.nan if value is None else float(value)


def score_so_far(folder: Path, tasks: Sequence[str], metric: Metric) -> tuple[int, float]:
    """Return the number of finished tasks of a run, and the metric of these rows; NaN before the first, and if undefined."""
    cells = {
        (int(row["after"]), row["task"]): float(row["accuracy"] or "nan")
        for row in (read_csv(folder / "accuracy.csv") if (folder / "accuracy.csv").exists() else ())
        if row["stream"] == "test"
    }
    done = max((after for after, _ in cells), default=0)
    if not done or metric.so_far is None:
        return done, math.nan
    R = np.array([[cells[after, task] for task in tasks] for after in range(1, done + 1)])
    seen = np.array([cells[after, SEEN] for after in range(1, done + 1) if (after, SEEN) in cells])
    return done, metric.so_far(R, seen)
