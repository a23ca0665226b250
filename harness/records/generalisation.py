"""Gain in a domain's style, gain in another style, and change elsewhere, from the records of `bench generalisation`.

Pure functions on runs. They apply to every stream whose tasks start from the initial weights and have a target called
`TASK-ood`. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.cases.generalisation import OTHER_STYLE
from harness.records.runs import Run
from metrics.means import Mean, mean
from metrics.rank_correlation import Estimate, correlation, difference

OUTCOMES = {
    "gain": "in the style of training",
    "gain_ood": "in another style",
    "elsewhere": "on other tasks",
}
"""The changes of test accuracy that training one domain makes, in points."""
PREDICTORS = ("silhouette", "correct_pair")
"""Measures of a domain's difficulty on the initial model (`metrics.suite`)."""
PREDICTED = ("zero_shot_error", "error", "gain", "gain_ood")
DIFFERENCE = "silhouette minus correct_pair"


class Outcome(NamedTuple):
    """Training on one domain with one method, means over seeds.

    Attributes:
        task: the domain.
        zero_shot_error: percent of its test images that the initial model gets wrong.
        error: the same after training.
        gain: change of test accuracy, in points.
        gain_ood: change of accuracy in the other style, in points.
        elsewhere: mean change on the other tasks and the supported ones, in points.
        silhouette: of the training images by class, on the initial model. NaN if not recorded.
        correct_pair: mean similarity of a training image to the text of its class, on the initial model. NaN if not recorded.
        seeds: number of seeds.
    """

    task: str
    zero_shot_error: float
    error: float
    gain: float
    gain_ood: float
    elsewhere: float
    silhouette: float
    correct_pair: float
    seeds: int


class Predictor(NamedTuple):
    """The rank correlation of a measure with an outcome over domains. `predictor` may be `DIFFERENCE`, of two correlations."""

    outcome: str
    predictor: str
    rho: Estimate


def applies(run: Run) -> bool:
    """Return whether each task of a run starts from the initial weights and has a target in another style."""
    return (run.identity.get("options") or {}).get("start") == "initial" and {f"{t}{OTHER_STYLE}" for t in run.tasks} <= set(
        run.targets
    )


def outcomes(runs: Sequence[Run]) -> list[Outcome]:
    """Return one outcome per task.

    Args:
        runs: finished runs of one method that differ only in the seed.

    Raises:
        ValueError: without runs, and for runs to which the study does not apply.
    """
    if not runs or not all(map(applies, runs)):
        raise ValueError(f"generalisation needs runs whose tasks start from the initial weights and have TASK{OTHER_STYLE}")
    by_seed = np.array([[_numbers(run, j) for j in range(len(run.tasks))] for run in runs])
    means = dict(zip(runs[0].tasks, by_seed.mean(axis=0).tolist(), strict=True))
    return [Outcome._make((task, *values, len(runs))) for task, values in means.items()]


def _numbers(run: Run, j: int) -> tuple[float, ...]:
    """Return the numbers of `Outcome` for task j of a run."""
    test, kept = run.rows("test", run.tasks), run.rows("heldout", run.retained)
    other_style = run.rows("heldout", [run.tasks[j] + OTHER_STYLE])[:, 0]
    cells = np.concatenate([test, kept], axis=1)
    change = cells[j + 1] - cells[0]
    measured = {name: value for experience, name, value in run.measures if experience == j + 1}
    return (
        100 - test[0, j],
        100 - test[j + 1, j],
        change[j],
        other_style[j + 1] - other_style[0],
        float(np.delete(change, j).mean()),
        *(measured.get(name, np.nan) for name in PREDICTORS),
    )


def over_domains(domains: Sequence[Outcome]) -> dict[str, Mean]:
    """Return the mean over domains of each change in `OUTCOMES`, with its t interval."""
    return {name: mean([getattr(domain, name) for domain in domains]) for name in OUTCOMES}


def paired(domains: Sequence[Outcome], others: Sequence[Outcome]) -> dict[str, Mean]:
    """Return the mean over shared domains of each change of the first method minus that of the second, with its t interval."""
    second = {domain.task: domain for domain in others}
    pairs = [(domain, second[domain.task]) for domain in domains if domain.task in second]
    return {name: mean([getattr(a, name) - getattr(b, name) for a, b in pairs]) for name in OUTCOMES}


def predictors(domains: Sequence[Outcome]) -> list[Predictor]:
    """Return how the measures of a domain's difficulty rank the domains by each outcome, and which ranks them better.

    Domains without a recorded measure are left out. There are no rows for fewer than four domains, or if a value is the same
    for all of them.
    """
    known = [domain for domain in domains if np.isfinite([getattr(domain, name) for name in PREDICTORS]).all()]
    first, second = ([getattr(domain, name) for domain in known] for name in PREDICTORS)
    rows = []
    for outcome in PREDICTED:
        y = [getattr(domain, outcome) for domain in known]
        try:
            estimates = (correlation(first, y), correlation(second, y), difference(first, second, y))
        except ValueError:
            continue
        rows += [Predictor(outcome, name, rho) for name, rho in zip((*PREDICTORS, DIFFERENCE), estimates, strict=True)]
    return rows
