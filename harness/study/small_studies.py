"""Studies of few tasks, drawn from a large one: how the lines over IIMM come out in random choices of its tasks.

The paper (2407.15731) has nine tasks. This analysis was added after the plan (docs/study_plan.md, Changes).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from harness.study.confirmatory import IIMM, KEYS, of_families
from harness.study.forecast import PREDICTED
from harness.study.predictors import groups
from metrics.study_table import task_means

PAPERS_TASKS = 9
DRAWS = 10_000
LARGE = 0.5


def small_studies(
    rows: pd.DataFrame, measure: str = IIMM, size: int = PAPERS_TASKS, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Return how the signed R2 of a measure is spread over studies of few tasks.

    Args:
        rows: table of one or several studies. Only those of the families count (`of_families`).
        measure: column of the measure.
        size: tasks of a small study.
        draws: number of small studies, the same choices of tasks for every model, tuning and outcome.
        seed: seed of the choices.

    Returns:
        One row per model, tuning and outcome: `n` tasks to choose from, median and 2.5 and 97.5 % quantiles of the signed R2,
        and percentages of the small studies with a signed R2 of at least 0.5 (`large`), with a positive slope of p < 0.05
        (`positive`) and with a negative slope of p < 0.05 (`negative`). NaN with fewer than `size` tasks.
    """
    cells = []
    for model, tuning, group in groups(of_families(rows)):
        points = task_means(group, (measure, *PREDICTED))
        for outcome in PREDICTED:
            known = points[[measure, outcome]].dropna()
            found = np.full(6, np.nan)
            if len(known) >= size:
                orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(known)), (draws, 1)), axis=1)[:, :size]
                found = _spread(_correlations(*(known[name].to_numpy(float)[orders] for name in (measure, outcome))), size)
            cells.append((model, tuning, outcome, measure, size, len(known), *found))
    return pd.DataFrame(cells, columns=[*KEYS, "size", "n", "median", "low", "high", "large", "positive", "negative"])


def _correlations(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of each row of x and y [draws, size], 0 for a row without spread."""
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (x, y))
    norms = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    correlations: NDArray[np.float64] = np.divide((x * y).sum(axis=1), norms, out=np.zeros(len(x)), where=norms > 0)
    return correlations


def _spread(r: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    signed = r * np.abs(r)
    # |t| above its quantile is |r| above q / sqrt(q^2 + size - 2).
    q = t.ppf(0.975, size - 2)
    least = q / np.sqrt(q**2 + size - 2)
    shares = [100 * np.mean(hit) for hit in (signed >= LARGE, r > least, r < -least)]
    return np.array([*np.quantile(signed, [0.5, 0.025, 0.975]), *shares])
