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

from harness.study.predictors import BEFORE
from metrics import multiple_regression
from metrics.regression import Line, Prediction, fit, leave_one_out, left_out_of_mean, predict
from metrics.study_table import FEWEST_DOMAINS, MODEL_COLUMNS, measure_columns, task_means
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
    measure: str | Sequence[str],
    value: float | Sequence[float],
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
        measure: name of the measure, or names of the predictors (`harness.study.selection`). No names predict the means.
        value: value of each predictor on the new task.
        leave_out: (domain, edition) of the new task, which may be a domain of the study.
        zero_shot: zero-shot accuracy of the new task in percent, if known. It limits the gain to 100 - zero_shot points.
        weight: weight of forgetting.

    Returns:
        Predictions, nearest domains, warnings and advice.

    Raises:
        UserError: for an unknown measure, a value that is not finite, a study of several models, or fewer than four domains.
    """
    names = (measure,) if isinstance(measure, str) else tuple(measure)
    values = (float(value),) if isinstance(value, int | float) else tuple(map(float, value))
    for name, number in zip(names, values, strict=True):
        if name not in (*measure_columns(rows), *([BEFORE] if BEFORE in rows.columns else [])):
            raise unknown("measure of the study", name, measure_columns(rows))
        if not math.isfinite(number):
            raise UserError(f"{name} of this dataset is {number}, so it predicts nothing. Choose another with --measure.")
    check_weight(weight)
    if len(rows[list(MODEL_COLUMNS)].drop_duplicates()) > 1:
        raise UserError("The study has cells of several models. A prediction needs a study of one model.")
    warnings: list[str] = []
    is_left_out = _is(rows, leave_out)
    used, observed = _complete_domains(rows[~is_left_out], names, warnings), rows[is_left_out]
    domains = used.domain.nunique()
    if domains < FEWEST_DOMAINS:
        without = f" without {leave_out[0]}" if leave_out is not None and len(observed) else ""
        raise UserError(f"A prediction needs a study of at least {FEWEST_DOMAINS} domains. This study has {domains}{without}.")
    # The line of the balance is the difference of the lines of gain and weighted forgetting.
    used = used.assign(balance=used.gain - weight * used.forgetting)
    tunings = _complete_tunings(used, warnings)
    table = pd.DataFrame(
        [_prediction(used, tuning, outcome, names, values, observed) for tuning in tunings for outcome in PREDICTED],
        columns=list(COLUMNS),
    )
    warnings += _doubts(table, names, values, used, zero_shot)
    nearest = _nearest(used, names, values)
    return Forecast(table, nearest, warnings, _advice(used, tunings, table, nearest, names, values, weight))


def predictor_label(names: Sequence[str]) -> str:
    """Return the predictors as text: "iimm", "logme + before", or "mean" for none."""
    return " + ".join(names) or "mean"


def _is(rows: pd.DataFrame, named: tuple[str, str] | None) -> pd.Series:
    if named is None:
        return pd.Series(False, index=rows.index)
    return (rows.domain == named[0]) & (rows.edition == named[1])


def _complete_domains(rows: pd.DataFrame, names: Sequence[str], warnings: list[str]) -> pd.DataFrame:
    """Return the rows of the domains without missing numbers."""
    broken = rows.loc[~np.isfinite(rows[[*names, "gain", "forgetting"]].to_numpy(float)).all(axis=1), "domain"].unique()
    if len(broken):
        lacking = ", ".join((*names, "gain"))
        warnings.append(f"{', '.join(broken)} left out, because the study lacks a number for {lacking} or forgetting")
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


def _points(rows: pd.DataFrame, tuning: str, names: Sequence[str], outcome: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return predictors and outcome by domain, means over seeds."""
    means = task_means(rows[rows.tuning == tuning], (*names, outcome)).dropna()
    return means[list(names)], means[outcome]


def _fit(x: pd.DataFrame, y: pd.Series) -> Line | multiple_regression.Fit:
    """Return the line over one predictor, or the fit over none or two."""
    try:
        return fit(x.iloc[:, 0], y) if x.shape[1] == 1 else multiple_regression.fit(x, y)
    except ValueError as error:
        raise UserError(f"The study has no line over {predictor_label(list(x.columns))}: {error}.") from error


def _expected(fitted: Line | multiple_regression.Fit, values: Sequence[float]) -> Prediction:
    return predict(fitted, values[0]) if isinstance(fitted, Line) else multiple_regression.predict(fitted, values)


def _left_out(x: pd.DataFrame, y: pd.Series) -> float:
    """Return the mean absolute error on left-out domains; NaN if without one of them the others have no line."""
    try:
        errors = leave_one_out(x.iloc[:, 0], y) if x.shape[1] == 1 else multiple_regression.leave_one_out(x, y)
    except ValueError:
        return math.nan
    return float(np.abs(errors).mean())


def _prediction(
    rows: pd.DataFrame, tuning: str, outcome: str, names: Sequence[str], values: Sequence[float], observed: pd.DataFrame
) -> dict[str, Any]:
    x, y = _points(rows, tuning, names, outcome)
    cells: dict[str, Any] = {
        "tuning": tuning,
        "strategy": rows.loc[rows.tuning == tuning, "strategy"].iloc[0],
        "outcome": outcome,
        "measure": predictor_label(names),
        "value": values[0] if len(values) == 1 else math.nan,
        "n": len(y),
        "observed": float(observed.loc[observed.tuning == tuning, outcome].mean()),
    }
    if len(y) < FEWEST_DOMAINS:  # gain over an error of zero is undefined
        return cells
    line = _fit(x, y)
    expected = _expected(line, values)
    slope, outside = (line.slope, not line.covers(values[0])) if isinstance(line, Line) else (math.nan, not line.covers(values))
    errors = {"loo_mae": _left_out(x, y), "loo_mae_of_mean": float(np.abs(left_out_of_mean(y)).mean())}
    fitted = {"predicted": expected.value, "low": expected.low, "high": expected.high, "outside": outside}
    return {**cells, **fitted, "slope": slope, "r2": line.r2, "p": line.p, **errors}


def _doubts(
    table: pd.DataFrame, names: Sequence[str], values: Sequence[float], rows: pd.DataFrame, zero_shot: float | None
) -> list[str]:
    doubts = []
    for name, value in zip(names, values, strict=True):
        low, high = rows[name].min(), rows[name].max()
        if table.outside.eq(True).any() and not low <= value <= high:
            doubts.append(
                f"{name} {value:.4g} is outside the range of the study, {low:.4g} to {high:.4g}. The lines are extrapolated "
                "and their intervals are too narrow"
            )
    gains = table[table.outcome == "gain"]
    if zero_shot is not None and (over := gains[gains.predicted > 100 - zero_shot]).size:
        doubts.append(
            f"the predicted gain of {', '.join(over.tuning)} exceeds the {100 - zero_shot:.1f} points between zero-shot "
            "accuracy and 100 %"
        )
    flat = table[(table.outcome != "gain_over_error") & ~(table.p < 0.05)] if names else table.iloc[:0]
    for outcome, lines in flat.groupby("outcome", sort=False):
        doubts.append(
            f"the study shows no significant slope of {outcome} over {predictor_label(names)} (p at least 0.05) for "
            f"{', '.join(lines.tuning)}"
        )
    return doubts


def _nearest(rows: pd.DataFrame, names: Sequence[str], values: Sequence[float]) -> pd.DataFrame:
    """Return the domains with the nearest predictors, one row per domain and tuning, means over seeds.

    Two predictors are scaled by their standard deviations. Without predictors no domain is nearer than another.
    """
    means = rows.groupby(["domain", "tuning"], sort=False)[[*names, *PREDICTED]].mean(numeric_only=True).reset_index()
    if not names:
        return means.iloc[:0]
    by_domain = rows.groupby("domain", sort=False)[list(names)].mean()
    difference = by_domain - np.asarray(values)
    distance = difference.abs() if len(names) == 1 else difference**2 / by_domain.var()
    near = distance.sum(axis=1).sort_values(kind="stable").index[:NEAREST]
    return pd.concat([means[means.domain == name] for name in near], ignore_index=True)


def _advice(
    rows: pd.DataFrame,
    tunings: Sequence[str],
    table: pd.DataFrame,
    nearest: pd.DataFrame,
    names: Sequence[str],
    values: Sequence[float],
    weight: float,
) -> Advice:
    balances = {tuning: _expected(_fit(*_points(rows, tuning, names, "balance")), values) for tuning in tunings}
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
    same = [tuning for tuning in tunings if tuning != best and not _better(rows, best, tuning, names, values)]
    examples = "; ".join(
        f"{r.domain} ({', '.join(f'{name} {getattr(r, name):.4g}' for name in names)}) gained {r.gain:+z.1f} "
        f"and changed the other domains by {-r.forgetting:+z.1f}"
        for r in nearest[nearest.tuning == best].itertuples()
    )
    sentence = (
        f"--strategy {strategy} --tuning {best}. Predicted {formula}: {expected.value:+z.1f} "
        f"[{expected.low:+z.1f}, {expected.high:+z.1f}], from a gain of {by_outcome['gain'].predicted:+z.1f} and a change of "
        f"{-by_outcome['forgetting'].predicted:+z.1f} on the other domains, by {'lines through' if names else 'the means of'} "
        f"{by_outcome['gain'].n} domains"
    )
    if examples:
        sentence += f". Nearest domains: {examples}"
    if expected.low <= 0:
        sentence += ". The interval includes zero, so fine-tuning may also be worse than the initial model"
    if same:
        sentence += f". The study does not distinguish it from: {', '.join(same)}"
    return Advice(strategy, best, sentence, based_on)


def _better(rows: pd.DataFrame, best: str, other: str, names: Sequence[str], values: Sequence[float]) -> bool:
    """Return whether the prediction interval of the difference, domain by domain, is above zero."""
    (x, of_best), (_, of_other) = (_points(rows, tuning, names, "balance") for tuning in (best, other))
    return _expected(_fit(x, of_best - of_other.reindex(of_best.index)), values).low > 0
