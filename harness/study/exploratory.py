"""The exploratory tables of the plan (docs/study_plan.md): everything but the lines over IIMM.

Each function returns a table with one row per model, tuning and outcome, and more keys where they are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.study.confirmatory import IIMM, KEYS, LINE, line_table, of_families, outcome_blocks
from harness.study.forecast import PREDICTED
from harness.study.predictors import BEFORE, CLASSES, PER_CLASS, groups, predictors
from metrics.line_quality import signed_r2
from metrics.means import mean
from metrics.multiple_regression import partial
from metrics.multiplicity import SHUFFLES, correlations, holm, permutation_maximum
from metrics.random_effects import mean_slope
from metrics.study_table import task_means

Floats = NDArray[np.float64]
CONTROLS: tuple[tuple[str, ...], ...] = ((BEFORE,), (CLASSES,), (PER_CLASS,), (BEFORE, CLASSES, PER_CLASS))
COMPONENTS = ("iimm_intra", "iimm_inter", "text_text", "correct_pair")
WEIGHTS = tuple(i / 10 for i in range(11))


def measure_lines(rows: pd.DataFrame, shuffles: int = SHUFFLES, seed: int = 0) -> pd.DataFrame:
    """Return the line of every predictor, with both corrections.

    `p_holm` is over the predictors of a model, tuning and outcome. `p_maximum` is over all predictors, tunings and outcomes of
    a model.

    Args:
        rows: table of one or several studies, with baselines.
        shuffles: number of random permutations.
        seed: seed of the permutations.
    """
    names = predictors(rows)
    lines = line_table(rows, names).assign(p_holm=math.nan, p_maximum=math.nan)
    for _, group in lines.groupby(["model", "tuning", "outcome"], sort=False):
        lines.loc[group.index, "p_holm"] = holm(group.p)
    cells = {}
    for model, columns, block in outcome_blocks(rows, names, PREDICTED):
        # Models have different values of the measures, so each has its own maximum.
        [maxima] = permutation_maximum([block], shuffles, seed)
        for (tuning, outcome), values in zip(columns, maxima.T, strict=True):
            cells.update({(model, tuning, outcome, name): value for name, value in zip(names, values, strict=True)})
    lines["p_maximum"] = [cells[key] for key in lines[list(KEYS)].itertuples(index=False, name=None)]
    return lines[[*KEYS, *LINE, "p_holm", "p_maximum"]]


def partial_lines(rows: pd.DataFrame, measure: str = IIMM) -> pd.DataFrame:
    """Return the slope of a measure given each set of `CONTROLS`, per standard deviation of the measure.

    Args:
        rows: table of one or several studies, with baselines.
        measure: column of the measure.
    """
    cells = []
    for model, tuning, group in groups(rows):
        for outcome in PREDICTED:
            for controls in CONTROLS:
                if not set(controls) <= set(group.columns):
                    continue
                known = task_means(group, (measure, outcome, *controls)).dropna()
                named = (model, tuning, outcome, measure, " + ".join(controls))
                cells.append((*named, *_partial(known, measure, outcome, controls)))
    return pd.DataFrame(cells, columns=[*KEYS, "given", "n", "slope", "low", "high", "p", "partial_r", "reason"])


def _partial(known: pd.DataFrame, measure: str, outcome: str, controls: Iterable[str]) -> tuple[Any, ...]:
    x, y, others = known[measure].to_numpy(float), known[outcome].to_numpy(float), known[list(controls)].to_numpy(float)
    try:
        result, spread = partial(x, y, others), float(x.std(ddof=1))
    except ValueError as error:
        return (len(known), *[math.nan] * 5, str(error))
    return (len(known), result.slope * spread, result.low * spread, result.high * spread, result.p, result.r, "")


def pooled_lines(rows: pd.DataFrame, measure: str = IIMM, shuffles: int = SHUFFLES, seed: int = 0) -> pd.DataFrame:
    """Return the mean slope over families per tuning and outcome (`metrics.random_effects.mean_slope`).

    Only domains that all families have are used. `p_permutation` compares the mean correlation of the families with that of
    random permutations of the domains, which are the same in all families. It is for these families and new tasks. p and the
    interval are for new families too.

    Args:
        rows: table of studies of at least two models. Only those of the families count (`of_families`).
        measure: column of the measure, standardised within each model.
        shuffles: number of random permutations.
        seed: seed of the permutations.
    """
    rows = of_families(rows)
    cells = []
    for tuning, of_tuning in rows.groupby("tuning", sort=False):
        for outcome in PREDICTED:
            means = [task_means(group, (measure, outcome)).dropna() for _, _, group in groups(of_tuning)]
            common = [name for name in means[0].index if all(name in table.index for table in means)]
            x = np.array([table.loc[common, measure].to_numpy(float) for table in means])
            y = np.array([table.loc[common, outcome].to_numpy(float) for table in means])
            cells.append((tuning, outcome, measure, len(means), len(common), *_pooled(x, y, shuffles, seed)))
    numbers = ["slope", "low", "high", "p", "p_permutation", "family_sd", "task_sd", "residual_sd", "reason"]
    return pd.DataFrame(cells, columns=["tuning", "outcome", "measure", "families", "n", *numbers])


def _pooled(x: Floats, y: Floats, shuffles: int, seed: int) -> tuple[Any, ...]:
    families, n = x.shape
    try:
        if n < 3 or (np.ptp(x, axis=1) == 0).any():
            raise ValueError("fewer than three domains are in all families, or the measure is the same for all domains")
        z = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True)
        fitted = mean_slope(z.ravel(), y.ravel(), np.repeat(np.arange(families), n), np.tile(np.arange(n), families))
    except ValueError as error:
        return (*[math.nan] * 8, str(error))
    # The mean correlation, times a constant, is the sum over tasks of the products with the outcomes that they are assigned.
    deviations = y - y.mean(axis=1, keepdims=True)
    products = z.T @ (deviations / np.maximum(deviations.std(axis=1, keepdims=True), 1e-300))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (shuffles, 1)), axis=1)
    reached = (np.abs(products[np.arange(n), orders].sum(axis=1)) >= abs(np.trace(products)) - 1e-9).sum()
    numbers = (fitted.slope, fitted.low, fitted.high, fitted.p, float(1 + reached) / (1 + shuffles))
    return (*numbers, fitted.family_sd, fitted.task_sd, fitted.residual_sd, "")


def component_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the signed R2 of IIMM, of its components, and of w intra + (1 - w) inter for each of `WEIGHTS`.

    `best_weight` has the largest R2. IIMM is w = 0.5. Columns of absent measures are NaN.
    """
    cells = []
    for model, tuning, group in groups(rows):
        names = [name for name in (IIMM, *COMPONENTS) if name in group.columns]
        for outcome in PREDICTED:
            points = task_means(group, (*names, outcome))
            row: dict[str, Any] = {"model": model, "tuning": tuning, "outcome": outcome}
            row |= {
                name: _signed(points, points[name], outcome) if name in points else math.nan for name in (IIMM, *COMPONENTS)
            }
            if {"iimm_intra", "iimm_inter"} <= set(points.columns):
                by_weight = {w: _signed(points, w * points.iimm_intra + (1 - w) * points.iimm_inter, outcome) for w in WEIGHTS}
                row |= {f"w{w:g}": value for w, value in by_weight.items()}
                known = {w: abs(value) for w, value in by_weight.items() if value == value}
                row["best_weight"] = max(known, key=lambda w: known[w]) if known else math.nan
            cells.append(row)
    return pd.DataFrame(cells)


def _signed(points: pd.DataFrame, x: pd.Series, outcome: str) -> float:
    known = x.notna() & points[outcome].notna()
    return _or_nan(lambda: signed_r2(x[known], points.loc[known, outcome]).value)


def _or_nan(compute: Callable[[], float]) -> float:
    try:
        return compute()
    except ValueError:
        return math.nan


def trade_off(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean gain and mean change on other domains per model and tuning, with intervals, and their correlation."""
    cells = []
    for model, tuning, group in groups(rows):
        points = task_means(group, ("gain", "forgetting"))
        gain, change = mean(list(points.gain)), mean(list(-points.forgetting))
        r = correlations(points[["gain"]].to_numpy(float), points[["forgetting"]].to_numpy(float)).item()
        cells.append((model, tuning, gain.n, gain.mean, gain.low, gain.high, change.mean, change.low, change.high, r))
    heads = ["n", "gain", "gain_low", "gain_high", "change", "change_low", "change_high", "r_gain_forgetting"]
    return pd.DataFrame(cells, columns=["model", "tuning", *heads])
