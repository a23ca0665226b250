"""A study's tables: pure functions from its records to a row a cell, and from those to lines through the domains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metrics.regression import fit, kendall, leave_one_out, left_out_of_mean
from metrics.study_table import IDENTITY, MODEL_COLUMNS, OUTCOMES, means_by_domain, measure_columns

FACTS = ("classes", "n_train", "n_val", "n_test", "n_ood", "others", "updates", "trainable_params", "train_seconds")
ACCURACIES = (
    *("zero_shot", "fine_tuned", "zero_shot_val", "fine_tuned_val", "zero_shot_ood", "fine_tuned_ood"),
    *("worst_other", "worst_other_change"),
)
COLUMNS = (*IDENTITY, *FACTS, *ACCURACIES, *OUTCOMES, "measured")
REGRESSION_COLUMNS = (
    *(*MODEL_COLUMNS, "tuning", "strategy", "outcome", "measure", "n"),
    *("slope", "slope_low", "slope_high", "intercept", "r2", "p"),
    *("kendall", "kendall_p", "loo_mae", "loo_rmse", "loo_mae_of_mean", "reason"),
)


def row(cell: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]], measures: Sequence[str]) -> dict[str, Any]:
    """The row of a cell's record and the records of every domain before training, by name. Accuracies are in percent.

    Forgetting is the mean over the other domains of zero-shot less fine-tuned accuracy, each counting the same; the domain that
    lost most is named beside it. Undefined values are NaN: an out-of-distribution set that is not there, a gain over an error
    of zero.
    """
    identity, after = cell["identity"], cell["after"]
    name, own = identity["domain"], before[identity["domain"]]
    made: dict[str, Any] = {key: identity[key] for key in IDENTITY}
    for split, ending in (("test", ""), ("val", "_val")):
        change = {n: percent(after[split][n]) - percent(before[n]["accuracy"][split]) for n in after[split]}
        gain, zero = change.pop(name), percent(own["accuracy"][split])
        made[f"zero_shot{ending}"], made[f"fine_tuned{ending}"] = zero, percent(after[split][name])
        made[f"gain{ending}"] = gain
        made[f"gain_over_error{ending}"] = 100 * gain / (100 - zero) if zero < 100 else math.nan
        made[f"forgetting{ending}"] = -float(np.mean(list(change.values())))
        if split == "test":
            worst = min(change, key=change.__getitem__)
            made.update(others=len(change), worst_other=worst, worst_other_change=change[worst])
        made[f"n_{split}"] = after[split][name][1]
    ood = after["ood"].get(name)
    made["zero_shot_ood"] = math.nan if ood is None else percent(own["accuracy"]["ood"])
    made["fine_tuned_ood"] = math.nan if ood is None else percent(ood)
    made["gain_ood"] = made["fine_tuned_ood"] - made["zero_shot_ood"]
    made["n_ood"] = 0 if ood is None else ood[1]
    made.update({key: own[key] for key in ("classes", "n_train", "measured")})
    made.update({key: cell[key] for key in ("updates", "trainable_params", "train_seconds")})
    return {**made, **{measure: _measure(own, measure) for measure in measures}}


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table: `COLUMNS`, then the measures."""
    found = pd.DataFrame(list(rows))
    return found.reindex(columns=[*COLUMNS, *(c for c in found.columns if c not in COLUMNS)])


def regressions(rows: pd.DataFrame, measures: Sequence[str] | None = None) -> pd.DataFrame:
    """A line a model, tuning, outcome and measure through the domains: columns `REGRESSION_COLUMNS`.

    `loo_mae` and `loo_rmse` are the mean absolute and root mean squared error on each domain of the line through all others;
    `loo_mae_of_mean` that of their mean outcome, which a measure has to beat to be worth anything. p is not corrected for the
    number of measures. A line that is undefined is NaN with its `reason`.
    """
    found = []
    keys = [*MODEL_COLUMNS, "tuning", "strategy"]
    for key, group in rows.groupby(keys, sort=False, dropna=False):
        for outcome in OUTCOMES:
            for measure in measure_columns(rows) if measures is None else measures:
                named = {**dict(zip(keys, key, strict=True)), "outcome": outcome, "measure": measure}
                found.append({**named, **_line(means_by_domain(group, measure, outcome))})
    return pd.DataFrame(found, columns=list(REGRESSION_COLUMNS))


def _line(of: pd.DataFrame) -> dict[str, Any]:
    x, y = of.x.to_numpy(float), of.y.to_numpy(float)
    found: dict[str, Any] = {"n": len(of), "reason": ""}
    try:
        line = fit(x, y)
        found.update(slope=line.slope, slope_low=line.low, slope_high=line.high, intercept=line.intercept, r2=line.r2, p=line.p)
        found["kendall"], found["kendall_p"], _ = kendall(x, y)
        errors = leave_one_out(x, y)
        found.update(loo_mae=np.abs(errors).mean(), loo_rmse=np.sqrt((errors**2).mean()))
        found["loo_mae_of_mean"] = np.abs(left_out_of_mean(y)).mean()
    except ValueError as error:
        found["reason"] = str(error)
    return found


def knows(before: Mapping[str, Any] | None, measures: Sequence[str]) -> bool:
    """Whether a record before training has all these measures."""
    return before is not None and all(name in before["measures"] for name in measures)


def _measure(before: Mapping[str, Any], name: str) -> float:
    """NaN, in the file null, where it is undefined."""
    value = before["measures"][name]["value"]
    return math.nan if value is None else float(value)


def percent(cell: Sequence[int]) -> float:
    """[correct, n] as percent."""
    correct, n = cell
    return 100 * correct / n if n else math.nan
