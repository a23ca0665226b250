"""Predict the outcomes of fine-tuning on a new task from the table of a study. Pure functions.

For each tuning, an outcome is predicted by the line over a measure through the domains of the study, at the measure's value on
the new task. The prediction interval is that of a new task (`metrics.regression`). A task that is a domain of the study is left
out of the lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from metrics.regression import Line, fit, leave_one_out, left_out_of_mean, predict
from metrics.study_table import FEWEST_DOMAINS, MODEL_COLUMNS, means_by_domain, measure_columns
from models.registry import UserError, unknown

PREDICTED = ("gain", "gain_over_error", "forgetting")
NEAREST = 3
COLUMNS = (
    *("tuning", "strategy", "outcome", "measure", "value", "predicted", "low", "high", "outside", "n", "slope", "r2", "p"),
    *("loo_mae", "loo_mae_of_mean", "observed"),
)


class Advice(NamedTuple):
    """A recommendation: strategy and tuning (None: do not fine-tune), the reason, and the cells that it is based on."""

    strategy: str | None
    tuning: str | None
    sentence: str
    based_on: tuple[str, ...]


class Forecast(NamedTuple):
    """Predictions and advice.

    `table` has one row per tuning and outcome, with the columns `COLUMNS`. `nearest` has one row per nearest domain and tuning.
    """

    table: pd.DataFrame
    nearest: pd.DataFrame
    warnings: list[str]
    advice: Advice


def check_weight(weight: float) -> None:
    """Raise UserError for a weight of forgetting that is negative, infinite or NaN."""
    if not math.isfinite(weight) or weight < 0:
        raise UserError(f"The weight of forgetting must be at least 0, got {weight}.")


def forecast(
    rows: pd.DataFrame,
    measure: str,
    value: float,
    *,
    leave_out: tuple[str, str] | None = None,
    zero_shot: float | None = None,
    weight: float = 1.0,
) -> Forecast:
    """Predict gain and forgetting of a new task by the lines of a study, and recommend a tuning.

    The recommended tuning has the highest predicted gain - weight * forgetting, in points (our choice). Forgetting is a mean
    over the other domains of the study. The advice also names each tuning that the study does not distinguish from it: the
    prediction interval of the difference includes zero. If no tuning has a positive balance, none is recommended.

    Args:
        rows: table of a study (`metrics.study_table.read`).
        measure: name of the measure.
        value: value of the measure on the new task.
        leave_out: (domain, edition) of the new task, which may be a domain of the study.
        zero_shot: zero-shot accuracy of the new task in percent, if known. It limits the gain to 100 - zero_shot points.
        weight: weight of forgetting.

    Returns:
        Predictions, nearest domains, warnings and advice.

    Raises:
        UserError: for an unknown measure, a value that is not finite, a study of several models, or fewer than four domains.
    """
    if measure not in measure_columns(rows):
        raise unknown("measure of the study", measure, measure_columns(rows))
    if not math.isfinite(value):
        raise UserError(f"{measure} of this dataset is {value}, so it predicts nothing. Choose another measure with --measure.")
    check_weight(weight)
    if len(rows[list(MODEL_COLUMNS)].drop_duplicates()) > 1:
        raise UserError("The study has cells of several models. A prediction needs a study of one model.")
    warnings: list[str] = []
    is_left_out = _is(rows, leave_out)
    used, observed = _complete_domains(rows[~is_left_out], measure, warnings), rows[is_left_out]
    domains = used.domain.nunique()
    if domains < FEWEST_DOMAINS:
        without = f" without {leave_out[0]}" if leave_out is not None and len(observed) else ""
        raise UserError(f"A prediction needs a study of at least {FEWEST_DOMAINS} domains. This study has {domains}{without}.")
    # The line of the balance is the difference of the lines of gain and weighted forgetting.
    used = used.assign(balance=used.gain - weight * used.forgetting)
    tunings = _complete_tunings(used, warnings)
    table = pd.DataFrame(
        [_prediction(used, tuning, outcome, measure, value, observed) for tuning in tunings for outcome in PREDICTED],
        columns=list(COLUMNS),
    )
    warnings += _doubts(table, measure, value, used, zero_shot)
    nearest = _nearest(used, measure, value)
    return Forecast(table, nearest, warnings, _advice(used, tunings, table, nearest, measure, value, weight))


def _is(rows: pd.DataFrame, named: tuple[str, str] | None) -> pd.Series:
    if named is None:
        return pd.Series(False, index=rows.index)
    return (rows.domain == named[0]) & (rows.edition == named[1])


def _complete_domains(rows: pd.DataFrame, measure: str, warnings: list[str]) -> pd.DataFrame:
    """Return the rows of the domains without missing numbers."""
    broken = rows.loc[~np.isfinite(rows[[measure, "gain", "forgetting"]].to_numpy(float)).all(axis=1), "domain"].unique()
    if len(broken):
        warnings.append(f"{', '.join(broken)} left out, because the study lacks a number for {measure}, gain or forgetting")
    return rows[~rows.domain.isin(broken)]


def _complete_tunings(rows: pd.DataFrame, warnings: list[str]) -> list[str]:
    """Return the tunings with cells on every domain. Lines through different domains are not comparable."""
    domains, tried = rows.domain.nunique(), rows.groupby("tuning", sort=False).domain.nunique()
    for tuning, n in tried[tried < domains].items():
        warnings.append(f"{tuning} left out, because the study has it on only {n} of {domains} domains")
    complete = [str(tuning) for tuning in tried[tried == domains].index]
    if not complete:
        raise UserError("The study has no tuning with cells on all of its domains. Finish the study first.")
    return complete


def _points(rows: pd.DataFrame, tuning: str, measure: str, outcome: str) -> pd.DataFrame:
    return means_by_domain(rows[rows.tuning == tuning], measure, outcome)


def _fit(x: Any, y: Any, measure: str) -> Line:
    try:
        return fit(x, y)
    except ValueError as error:
        raise UserError(f"The study has no line over {measure}: {error}.") from error


def _prediction(
    rows: pd.DataFrame, tuning: str, outcome: str, measure: str, value: float, observed: pd.DataFrame
) -> dict[str, Any]:
    points = _points(rows, tuning, measure, outcome)
    cells: dict[str, Any] = {
        "tuning": tuning,
        "strategy": rows.loc[rows.tuning == tuning, "strategy"].iloc[0],
        "outcome": outcome,
        "measure": measure,
        "value": value,
        "n": len(points),
        "observed": float(observed.loc[observed.tuning == tuning, outcome].mean()),
    }
    if len(points) < FEWEST_DOMAINS:  # gain over an error of zero is undefined
        return cells
    line = _fit(points.x, points.y, measure)
    expected = predict(line, value)
    try:
        error = float(np.abs(leave_one_out(points.x, points.y)).mean())
    except ValueError:
        error = math.nan
    of_mean = float(np.abs(left_out_of_mean(points.y)).mean())
    cells.update(expected._asdict(), predicted=expected.value, value=value, outside=not line.covers(value))
    return {**cells, "slope": line.slope, "r2": line.r2, "p": line.p, "loo_mae": error, "loo_mae_of_mean": of_mean}


def _doubts(table: pd.DataFrame, measure: str, value: float, rows: pd.DataFrame, zero_shot: float | None) -> list[str]:
    doubts = []
    if table.outside.eq(True).any():
        low, high = rows[measure].min(), rows[measure].max()
        doubts.append(
            f"{measure} {value:.4g} is outside the range of the study, {low:.4g} to {high:.4g}. The lines are extrapolated and "
            "their intervals are too narrow"
        )
    gains = table[table.outcome == "gain"]
    if zero_shot is not None and (over := gains[gains.predicted > 100 - zero_shot]).size:
        doubts.append(
            f"the predicted gain of {', '.join(over.tuning)} exceeds the {100 - zero_shot:.1f} points between zero-shot "
            "accuracy and 100 %"
        )
    flat = table[(table.outcome != "gain_over_error") & ~(table.p < 0.05)]
    for outcome, lines in flat.groupby("outcome", sort=False):
        doubts.append(
            f"the study shows no significant slope of {outcome} over {measure} (p at least 0.05) for {', '.join(lines.tuning)}"
        )
    return doubts


def _nearest(rows: pd.DataFrame, measure: str, value: float) -> pd.DataFrame:
    """Return the domains with the nearest values of the measure, one row per domain and tuning, means over seeds."""
    near = rows.groupby("domain", sort=False)[measure].mean().sub(value).abs().sort_values(kind="stable").index[:NEAREST]
    means = rows.groupby(["domain", "tuning"], sort=False)[[measure, *PREDICTED]].mean(numeric_only=True).reset_index()
    return pd.concat([means[means.domain == name] for name in near], ignore_index=True)


def _advice(
    rows: pd.DataFrame,
    tunings: Sequence[str],
    table: pd.DataFrame,
    nearest: pd.DataFrame,
    measure: str,
    value: float,
    weight: float,
) -> Advice:
    balances = {}
    for tuning in tunings:
        points = _points(rows, tuning, measure, "balance")
        balances[tuning] = predict(_fit(points.x, points.y, measure), value)
    best = max(balances, key=lambda tuning: balances[tuning].value)
    expected = balances[best]
    by_outcome = {row.outcome: row for row in table[table.tuning == best].itertuples()}
    formula = "gain - forgetting" if weight == 1 else f"gain - {weight:g} x forgetting"
    cells = rows[rows.tuning == best]
    based_on = tuple(f"{r.domain}-{r.tuning}-{r.seed}" for r in cells.itertuples())
    if expected.value <= 0:
        return Advice(
            None,
            None,
            f"do not fine-tune. No tuning has a positive predicted {formula}; the best is {best} with {expected.value:+z.1f}",
            based_on,
        )
    strategy = str(cells.strategy.iloc[0])
    same = [tuning for tuning in tunings if tuning != best and not _better(rows, best, tuning, measure, value)]
    examples = "; ".join(
        f"{r.domain} ({measure} {getattr(r, measure):.4g}) gained {r.gain:+z.1f} "
        f"and changed the other domains by {-r.forgetting:+z.1f}"
        for r in nearest[nearest.tuning == best].itertuples()
    )
    sentence = (
        f"--strategy {strategy} --tuning {best}. Predicted {formula}: {expected.value:+z.1f} "
        f"[{expected.low:+z.1f}, {expected.high:+z.1f}], from a gain of {by_outcome['gain'].predicted:+z.1f} and a change of "
        f"{-by_outcome['forgetting'].predicted:+z.1f} on the other domains, by lines through {by_outcome['gain'].n} domains. "
        f"Nearest domains: {examples}"
    )
    if expected.low <= 0:
        sentence += ". The interval includes zero, so fine-tuning may also be worse than the initial model"
    if same:
        sentence += f". The study does not distinguish it from: {', '.join(same)}"
    return Advice(strategy, best, sentence, based_on)


def _better(rows: pd.DataFrame, best: str, other: str, measure: str, value: float) -> bool:
    """Return whether the prediction interval of the difference, domain by domain, is above zero."""
    best_points, other_points = (_points(rows, tuning, measure, "balance") for tuning in (best, other))
    difference = best_points.y - other_points.y.reindex(best_points.index)
    return predict(_fit(best_points.x, difference, measure), value).low > 0
