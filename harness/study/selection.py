"""The predictor of `predict`: chosen among the mean, single predictors and pairs, by errors on left-out domains of a study.

Candidates are the mean of the domains, every measure and the accuracy before training, and every pair of them.
The error of a candidate on a domain is that of the fit through all other domains, squared, divided by the variance of the
outcome, and averaged over tunings and outcomes (gain and forgetting). One candidate is chosen for all of them, so that gain,
forgetting and their balance are predicted from the same numbers. The rule (our choice, after the one-standard-error rule of
Breiman et al. 1984):

    start with the mean
    take the best single predictor, then the best pair, only if its error is smaller than that of the candidate so far
    by more than one standard error of the difference over domains

`check` repeats the choice without each domain (nested leave-one-out), so that its errors and coverage are those of new domains.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.study.predictors import BEFORE
from metrics.multiple_regression import fit, leave_one_out_all, predict
from metrics.study_table import measure_columns, task_means

Floats = NDArray[np.float64]
CHOSEN_BY = ("gain", "forgetting")
FEWEST = {1: 6, 2: 10}
"""Domains that candidates of one and two predictors need (our choice)."""


class Data(NamedTuple):
    """A study as arrays: predictors [n, m] by name, and outcomes [n, q] by tuning and outcome."""

    names: tuple[str, ...]
    x: Floats
    outcomes: tuple[tuple[str, str], ...]
    y: Floats


class Choice(NamedTuple):
    """The chosen predictors; () is the mean. `error` is relative to that of the mean, on left-out domains of the choice."""

    names: tuple[str, ...]
    error: float


def choose_predictors(rows: pd.DataFrame) -> Choice:
    """Return the predictors that won on left-out domains of a study.

    Args:
        rows: table of a study of one model, with the column `before`. Predictors without a value for a domain are left out.
    """
    data = study_arrays(rows)
    columns, error = _choose(data.x, data.y)
    return Choice(tuple(data.names[i] for i in columns), error)


def check(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors and coverage of the rule on domains that neither the choice nor the fit has seen.

    Args:
        rows: as `choose_predictors`.

    Returns:
        One row per tuning and outcome: number of domains `n`, mean absolute error of the chosen predictors and of the mean
        (`error`, `error_of_mean`), and number of domains inside their 95 % interval (`inside`).
    """
    data = study_arrays(rows)
    n, q = data.y.shape
    errors, of_mean, inside = np.empty((n, q)), np.empty((n, q)), np.zeros((n, q), dtype=bool)
    for i in range(n):
        x, y = np.delete(data.x, i, axis=0), np.delete(data.y, i, axis=0)
        columns, _ = _choose(x, y)
        for j in range(q):
            expected = predict(fit(x[:, columns], y[:, j]), data.x[i, columns])
            errors[i, j] = abs(data.y[i, j] - expected.value)
            inside[i, j] = expected.low <= data.y[i, j] <= expected.high
        of_mean[i] = np.abs(data.y[i] - y.mean(axis=0))
    names = pd.DataFrame(data.outcomes, columns=["tuning", "outcome"])
    numbers = {"n": n, "error": errors.mean(axis=0), "error_of_mean": of_mean.mean(axis=0), "inside": inside.sum(axis=0)}
    return names.assign(**numbers)


def study_arrays(rows: pd.DataFrame) -> Data:
    """Return the domains with all outcomes, and the predictors that are known and vary on all of them."""
    names = [*measure_columns(rows), *([BEFORE] if BEFORE in rows.columns else [])]
    parts = [
        task_means(group, CHOSEN_BY).rename(columns=lambda outcome, tuning=tuning: (tuning, outcome))
        for tuning, group in rows.groupby("tuning", sort=False)
    ]
    y = pd.concat(parts, axis=1).dropna()
    x = task_means(rows, names).reindex(y.index)
    known = [name for name in names if x[name].notna().all() and x[name].nunique() > 1]
    outcomes = tuple((str(tuning), str(outcome)) for tuning, outcome in y.columns)
    return Data(tuple(known), x[known].to_numpy(float), outcomes, y.to_numpy(float))


def _choose(x: Floats, y: Floats) -> tuple[list[int], float]:
    """Return the columns of the chosen predictors, and their error relative to that of the mean."""
    n, m = x.shape
    variance = y.var(axis=0)
    scaled = y[:, variance > 0] / np.sqrt(variance[variance > 0])
    if not scaled.shape[1]:
        return [], 1.0
    best: list[int] = []
    of_mean = _errors(np.empty((1, n, 0)), scaled)[0]
    errors = of_mean
    for size, fewest in FEWEST.items():
        candidates = [list(columns) for columns in combinations(range(m), size)]
        if n < fewest or not candidates:
            break
        all_errors = _errors(x[:, candidates].transpose(1, 0, 2), scaled)
        winner = int(all_errors.mean(axis=1).argmin())
        gained = errors - all_errors[winner]
        if np.isfinite(gained).all() and gained.mean() > gained.std(ddof=1) / n**0.5:
            best, errors = candidates[winner], all_errors[winner]
    return best, float(errors.mean() / of_mean.mean())


def _errors(x: Floats, y: Floats) -> Floats:
    """Return the squared leave-one-out error [c, n] of each candidate on each domain, mean over the outcomes."""
    squared: Floats = (leave_one_out_all(x, y) ** 2).mean(axis=2)
    return squared
