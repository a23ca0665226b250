"""Broad transfer: the effect of a patch on tasks that share no class with the patched one. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from harness.records.patches import Curve, patches
from harness.records.runs import Run
from metrics.comparison import interval
from metrics.paired_answers import Answers, change

LEVEL = 0.05
"""The false discovery rate at which an effect counts as shown."""
PER_TASK = ("paint-single",)
"""Strategies whose row j is a patch on task j only."""


class Effect(NamedTuple):
    """The effect of patching a task on the test accuracy on another one, means over seeds.

    Attributes:
        patched_task: the task of the patch.
        test: the task that is tested.
        halves: both are halves of the classes of one domain.
        zero_shot: accuracy of the initial model in percent.
        fine_tuned: accuracy of the fine-tuned model.
        patched: accuracy at the chosen alpha.
        change: patched - zero_shot in points.
        low: lower end of the 95 % interval of the change (`metrics.paired_answers.change`).
        high: upper end.
        p: p-value of no change.
        adjusted: p-value adjusted for the number of pairs.
        n: test images.
        seeds: number of seeds.
    """

    patched_task: str
    test: str
    halves: bool
    zero_shot: float
    fine_tuned: float
    patched: float
    change: float
    low: float
    high: float
    p: float
    adjusted: float
    n: int
    seeds: int

    @property
    def verdict(self) -> str:
        """Return "helps" or "hurts" if the adjusted p-value is at most `LEVEL`, else "no effect shown"."""
        if self.adjusted > LEVEL:
            return "no effect shown"
        return "helps" if self.change > 0 else "hurts"


class MeanEffect(NamedTuple):
    """The mean change in points over some pairs, its 95 % interval over test tasks and seeds, and the number of pairs.

    The ends are NaN with one task and one seed.
    """

    change: float
    low: float
    high: float
    pairs: int


def effects(runs: Sequence[Run]) -> list[Effect]:
    """Return the effect of each patch on each other task of the stream that shares no class with the patched one.

    p-values are adjusted over all pairs by Benjamini and Hochberg's procedure (1995), so of the effects that count as shown
    about 5 % are expected to be false. It holds for independent and for positively dependent tests.

    Args:
        runs: runs of one setting that differ in their seed, of a strategy that patches each task separately (`PER_TASK`).

    Returns:
        The effects in the order of the tasks. Records that do not count the images lost by a patch have no effects.
    """
    from scipy.stats import false_discovery_control

    curves = [_by_pair(run) for run in runs]
    pairs = [pair for pair in curves[0] if all(pair in each for each in curves)] if curves else []
    if not pairs:
        return []
    of_halves = {frozenset(pair) for pair in runs[0].identity.get("halves", ())}
    changes = [change([_answers(each[pair]) for each in curves]) for pair in pairs]
    adjusted = false_discovery_control([each.p for each in changes], method="bh")
    results = []
    for pair, points, p in zip(pairs, changes, adjusted, strict=True):
        percents = np.mean([_percents(each[pair]) for each in curves], axis=0)
        results.append(
            Effect(
                patched_task=pair[0],
                test=pair[1],
                halves=frozenset(pair) in of_halves,
                zero_shot=float(percents[0]),
                fine_tuned=float(percents[1]),
                patched=float(percents[2]),
                change=points.points,
                low=points.low,
                high=points.high,
                p=points.p,
                adjusted=float(p),
                n=curves[0][pair].patched.n,
                seeds=len(runs),
            )
        )
    return results


def mean_effect(runs: Sequence[Run], pairs: Iterable[tuple[str, str]]) -> MeanEffect:
    """Return the mean change over some pairs (patched task, tested task).

    Each tested task counts once per pair. The interval resamples tested tasks and seeds (`metrics.comparison.interval`).

    Args:
        runs: runs as in `effects`.
        pairs: pairs of `effects`, at least one.
    """
    tested: dict[str, list[str]] = {}
    for patched_task, test in pairs:
        tested.setdefault(test, []).append(patched_task)
    curves = [_by_pair(run) for run in runs]
    points = np.array([
        [np.mean([_points(each[task, test]) for task in tasks]) for test, tasks in tested.items()] for each in curves
    ])  # fmt: skip
    weights = np.array([len(tasks) for tasks in tested.values()], dtype=np.float64)
    low, high = interval(points, weights)
    return MeanEffect(float((points @ (weights / weights.sum())).mean()), low, high, int(weights.sum()))


def whole_domains(run: Run) -> list[str]:
    """Return the tasks of a run that are not halves of another domain's classes."""
    parts = {name for pair in run.identity.get("halves", ()) for name in pair}
    return [task for task in run.tasks if task not in parts]


def _by_pair(run: Run) -> dict[tuple[str, str], Curve]:
    """Return the curve of each pair of tasks without a common class."""
    shared = run.document.get("shared_classes")
    if shared is None or run.identity["strategy"] not in PER_TASK:
        return {}
    apart = {frozenset(pair) for pair in product(run.tasks, repeat=2)} - {frozenset(pair) for pair in shared}
    return {
        (patch.task, curve.task): curve
        for patch in patches(run.document.get("searches"))
        for curve in patch.of("test", [task for task in run.tasks if task != patch.task])
        if frozenset((patch.task, curve.task)) in apart and curve.lost is not None
    }


def _answers(curve: Curve) -> Answers:
    lost = curve.lost or 0
    return Answers(curve.patched.correct - curve.before.correct + lost, lost, curve.patched.n)


def _points(curve: Curve) -> float:
    return curve.patched.percent - curve.before.percent


def _percents(curve: Curve) -> tuple[float, float, float]:
    return curve.before.percent, curve.fine_tuned.percent, curve.patched.percent
