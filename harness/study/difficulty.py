"""A-CLIP's claim (2402.09613): a silhouette predicts the difficulty of a task better than the similarity of correct pairs.

Difficulty is 100 - accuracy, before training and after each tuning, with the prompts of the study. Predictors are compared by
the absolute value of Spearman's rank correlation over the domains, because a silhouette by modality has no known sign.
Intervals are percentiles of bootstrap samples of the domains, in which all predictors see the same samples.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harness.study.predictors import groups
from metrics.rank_correlation import RESAMPLES, spearman
from metrics.regression import LEVEL
from metrics.study_table import task_means

SILHOUETTES, REFERENCE = ("silhouette", "silhouette_modality"), "correct_pair"
COLUMNS = ("model", "when", "measure", "n", "rho", "difference", "low", "high", "better")
FEWEST = 4


def difficulty(rows: pd.DataFrame, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Return the rank correlation of each predictor with the difficulty, and how much stronger it is than correct pairs.

    Args:
        rows: table of one or several studies with accuracies.
        resamples: number of bootstrap samples.
        seed: seed of the samples.

    Returns:
        One row per model, time (`before`, or the tuning) and predictor. `difference` is |rho| minus that of `correct_pair`.
    """
    cells = []
    names = [name for name in (*SILHOUETTES, REFERENCE) if name in rows.columns]
    if REFERENCE not in names or not {"zero_shot", "fine_tuned"} <= set(rows.columns):
        return pd.DataFrame(columns=list(COLUMNS))
    for model, of_model in rows.groupby("model", sort=False):
        first = next(group for _, _, group in groups(of_model))
        times = [("before", first, "zero_shot"), *((tuning, group, "fine_tuned") for _, tuning, group in groups(of_model))]
        for when, group, accuracy in times:
            known = task_means(group, (*names, accuracy)).dropna()
            if len(known) < FEWEST:
                continue
            cells += [(model, when, *row) for row in _compared(known, names, accuracy, resamples, seed)]
    return pd.DataFrame(cells, columns=list(COLUMNS))


def _compared(
    known: pd.DataFrame, names: list[str], accuracy: str, resamples: int, seed: int
) -> list[tuple[str, int, float, float, float, float, bool]]:
    chosen = np.random.default_rng(seed).integers(len(known), size=(resamples, len(known)))
    y = 100 - known[accuracy].to_numpy(float)
    values = {name: known[name].to_numpy(float) for name in names}
    rho = {name: float(spearman(x, y)) for name, x in values.items()}
    drawn = {name: np.abs(spearman(x[chosen], y[chosen])) for name, x in values.items()}
    compared = []
    for name in names:
        if name == REFERENCE:
            compared.append((name, len(known), rho[name], math.nan, math.nan, math.nan, False))
            continue
        low, high = np.nanquantile(drawn[name] - drawn[REFERENCE], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        difference = abs(rho[name]) - abs(rho[REFERENCE])
        compared.append((name, len(known), rho[name], difference, float(low), float(high), bool(low > 0)))
    return compared
