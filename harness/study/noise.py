"""The reliability of a study's outcomes, and R2 corrected for it, next to R2 (`metrics.outcome_noise`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.study.confirmatory import IIMM, KEYS
from harness.study.forecast import PREDICTED
from harness.study.predictors import groups
from metrics.line_quality import signed_r2
from metrics.outcome_noise import Noise, forgetting_noise, gain_noise, gain_over_error_noise, reliability
from metrics.study_table import task_means

LIMITS = Noise._fields
NUMBERS = ("n", "r2", "reliability_low", "reliability_high", "corrected_low", "corrected_high", "sd", "reason")
COLUMNS = (*KEYS, *NUMBERS)
CHANGE_KEYS = ["domain", "tuning", "seed"]


def reliabilities(rows: pd.DataFrame, changes: pd.DataFrame | None = None, measures: Sequence[str] = (IIMM,)) -> pd.DataFrame:
    """Return the reliability of every outcome, and R2 of measures before and after the correction.

    Args:
        rows: table of one or several studies with accuracies and numbers of test images.
        changes: the changes on single domains (`read_changes`). Without it, the reliability of forgetting is unknown.
        measures: columns of the measures.

    Returns:
        One row per model, tuning, outcome and measure. `reliability_low` and `corrected_high` are for independent errors
        before and after training, `reliability_high` and `corrected_low` for changes in one direction. `sd` is the standard
        deviation of the outcome between domains.
    """
    cells = []
    for model, tuning, group in groups(rows):
        noisy = group.assign(**_noise(group, model, changes))
        for outcome in PREDICTED:
            for measure in measures:
                cells.append((model, tuning, outcome, measure, *_numbers(noisy, measure, outcome).values()))
    return pd.DataFrame(cells, columns=list(COLUMNS))


def _noise(group: pd.DataFrame, model: str, changes: pd.DataFrame | None) -> dict[str, Any]:
    """Return both limits of the variance of each outcome of each cell; NaN where accuracies are not recorded."""
    noise: dict[str, Any] = {f"{outcome}_{limit}": math.nan for outcome in PREDICTED for limit in LIMITS}
    if {"zero_shot", "fine_tuned", "n_test"} <= set(group.columns):
        accuracies = (group.zero_shot.to_numpy(float), group.fine_tuned.to_numpy(float), group.n_test.to_numpy(float))
        for outcome, function in (("gain", gain_noise), ("gain_over_error", gain_over_error_noise)):
            noise |= {f"{outcome}_{limit}": value for limit, value in function(*accuracies)._asdict().items()}
    if changes is not None:
        by_cell = {
            key: forgetting_noise(cell.before, cell.after, cell.n)
            for key, cell in changes[changes.model == model].groupby(CHANGE_KEYS, sort=False)
        }
        unknown = Noise(np.float64(math.nan), np.float64(math.nan))  # type: ignore[arg-type]
        of_cells = [by_cell.get(key, unknown) for key in group[CHANGE_KEYS].itertuples(index=False, name=None)]
        noise |= {f"forgetting_{limit}": [float(getattr(n, limit)) for n in of_cells] for limit in LIMITS}
    return noise


def _numbers(rows: pd.DataFrame, measure: str, outcome: str) -> dict[str, Any]:
    limits = [f"{outcome}_{limit}" for limit in LIMITS]
    points = task_means(rows, (measure, outcome, *limits))
    pairs, known = points[[measure, outcome]].dropna(), points.dropna()
    numbers: dict[str, Any] = {**dict.fromkeys(NUMBERS, math.nan), "n": len(pairs), "reason": ""}
    try:
        numbers["r2"] = r2 = signed_r2(pairs[measure], pairs[outcome]).value
        if known.empty:
            raise ValueError("the noise of this outcome is not recorded")
        used = rows[rows.domain.isin(known.index)].groupby("domain")[outcome]
        seeds = int(used.size().min())
        between_seeds = float(used.var(ddof=1).mean()) if seeds > 1 else 0.0
        high, low = (reliability(known[outcome], known[limit], between_seeds, seeds) for limit in limits)
        numbers.update(reliability_low=low.value, reliability_high=high.value, sd=low.between**0.5)
        numbers["corrected_low"], numbers["corrected_high"] = (
            math.copysign(limit.corrected(abs(r2)), r2) for limit in (high, low)
        )
    except ValueError as error:
        numbers["reason"] = str(error)
    return numbers


def read_changes(tables: Sequence[Path]) -> pd.DataFrame | None:
    """Return the `changes.csv` next to each table with a column `model`, or None unless every study has one.

    Args:
        tables: paths of the tables. The changes of a table of several models have this column already.
    """
    found = []
    for path in tables:
        file = path.parent / "changes.csv"
        if not file.is_file():
            return None
        changes = pd.read_csv(file)
        if "model" not in changes.columns:
            models = pd.read_csv(path, usecols=["model"]).model.unique()
            if len(models) != 1:
                return None
            changes = changes.assign(model=str(models[0]))
        found.append(changes)
    return pd.concat(found, ignore_index=True) if found else None
