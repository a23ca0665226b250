"""PAINT's main table: accuracy on patching and supported tasks of single, joint, sequential and parallel patching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records.patches import patches
from harness.records.runs import Run
from metrics.means import Mean, mean

STRATEGIES = ("paint-single", "paint-joint", "paint-sequential", "paint-parallel")
ONE_FINE_TUNED_MODEL = ("paint-single", "paint-joint")
"""Strategies in which each patch goes to one model that was fine-tuned from the initial one."""
STATES = ("zero_shot", "fine_tuned", "patched")


class Row(NamedTuple):
    """Accuracies of a method on the patching tasks or on the supported tasks, means over the tasks and over seeds.

    Attributes:
        test_sets: "tasks" or "supported".
        method: label of the method.
        raw: accuracy in percent: zero-shot, fine-tuned and patched.
        relative: the same in percent of a reference, mean of the ratios. For the patching tasks the reference is the accuracy
            of the model that is fine-tuned on this task only (alpha = 1 of `paint-single` with the same seed), which papers on
            merging call normalised accuracy. For the supported tasks, on which nothing is fine-tuned, it is zero-shot accuracy
            (our choice).
    """

    test_sets: str
    method: str
    raw: tuple[Mean, Mean, Mean]
    relative: tuple[Mean, Mean, Mean]

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return self.raw[0].n


def main_table(methods: Mapping[str, Sequence[Run]]) -> list[Row]:
    """Return the rows of the table: the patching tasks for each method, then the supported tasks for each method.

    `paint-single` has a model per task. Its accuracy on the patching tasks is the mean of each model on its own task, and that
    on the supported tasks the mean over models. The other methods have one model for all tasks, which is that of the last
    row. Sequential and parallel patching have no single fine-tuned model, so that their fine-tuned accuracy is missing (NaN).

    Args:
        methods: runs of the strategies `STRATEGIES` by label. The runs of a label differ in their seed. Other strategies are
            left out.
    """
    shown = {label: runs for label, runs in methods.items() if runs and runs[0].identity["strategy"] in STRATEGIES}
    specialists = {
        run.identity["seed"]: _on_tasks(run)[1]
        for runs in shown.values()
        for run in runs
        if run.identity["strategy"] == "paint-single"
    }
    ranked = sorted(shown, key=lambda label: STRATEGIES.index(shown[label][0].identity["strategy"]))
    rows = []
    for test_sets, accuracies in (("tasks", _on_tasks), ("supported", _on_supported)):
        for label in ranked:
            raw, relative = [], []
            for run in shown[label]:
                values = accuracies(run)
                missing = np.full(values.shape[1], np.nan)
                reference = specialists.get(run.identity["seed"], missing) if test_sets == "tasks" else values[0]
                raw.append(_mean(values))
                relative.append(_mean(100 * values / np.where(reference > 0, reference, np.nan)))
            rows.append(Row(test_sets, label, _over_seeds(raw), _over_seeds(relative)))
    return [row for row in rows if row.seeds]


def _on_tasks(run: Run) -> NDArray[np.float64]:
    """Return the accuracies [3, tasks] of the states on the patching tasks."""
    R = run.rows("test", run.tasks)
    own = run.identity["strategy"] == "paint-single"
    return np.array([R[0], _fine_tuned(run, "test"), np.diag(R[1:]) if own else R[-1]])


def _on_supported(run: Run) -> NDArray[np.float64]:
    """Return the accuracies [3, supported tasks] of the states, for `paint-single` means over its models."""
    R = run.rows("heldout", run.retained)
    own = run.identity["strategy"] == "paint-single"
    return np.array([R[0], _fine_tuned(run, "heldout"), R[1:].mean(axis=0) if own else R[-1]])


def _fine_tuned(run: Run, stream: str) -> NDArray[np.float64]:
    """Return the accuracies at alpha = 1, NaN if they do not exist or were not recorded."""
    names = run.tasks if stream == "test" else run.retained
    strategy, recorded = run.identity["strategy"], patches(run.document.get("searches"))
    if strategy not in ONE_FINE_TUNED_MODEL or [patch.task for patch in recorded] != list(run.tasks):
        return np.full(len(names), np.nan)
    if strategy == "paint-single" and stream == "test":
        return np.array([patch.of("test", [patch.task])[0].fine_tuned.percent for patch in recorded])
    models = recorded if strategy == "paint-single" else recorded[-1:]
    accuracies = np.array([[curve.fine_tuned.percent for curve in patch.of(stream, names)] for patch in models])
    mean_accuracies: NDArray[np.float64] = accuracies.mean(axis=0)
    return mean_accuracies


def _mean(values: NDArray[np.float64]) -> list[float]:
    return [float(row.mean()) if len(row) else float("nan") for row in values]


def _over_seeds(values: Sequence[Sequence[float]]) -> tuple[Mean, Mean, Mean]:
    zero_shot, fine_tuned, patched = (mean(state) for state in zip(*values, strict=True))
    return zero_shot, fine_tuned, patched
