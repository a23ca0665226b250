"""What a study says of a new task whose measure is known: pure functions on its table.

For each tuning the line of an outcome over the measure through the study's domains, at the new task's value, with the interval
in which a new task is expected (`metrics.regression`). A task that is a domain of the study is left out of it first.
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
    """A recommendation: the method and the tuning (None: leave the model as it is), why, and the cells that it rests on."""

    strategy: str | None
    tuning: str | None
    sentence: str
    rests_on: tuple[str, ...]


class Forecast(NamedTuple):
    """Predictions (a row a tuning and outcome, `COLUMNS`), the nearest domains (a row each and tuning), what has to be said."""

    table: pd.DataFrame
    nearest: pd.DataFrame
    warnings: list[str]
    advice: Advice


def check_weight(weight: float) -> None:
    """Raise UserError for a weight of forgetting that is below 0, infinite or no number."""
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
    """Gain and forgetting of a new task by the lines of a study, and which tuning to choose.

    The recommended tuning has the highest predicted gain less `weight` times predicted forgetting, both in points (our choice;
    forgetting is a mean over the study's other domains). Tunings whose difference to it has a prediction interval that holds
    zero are named too: the study does not tell them apart. Where no tuning is predicted to come out above zero, none is
    recommended.

    Args:
        rows: a study's table (`metrics.study_table.read`).
        measure, value: of the new task.
        leave_out: (domain, edition) of the new task, where it may be one of the study's.
        zero_shot: the new task's accuracy in percent, if known: no gain is larger than what is missing to 100.

    Raises UserError for an unknown measure, a value that is no number, a study of several models, and fewer than four domains.
    """
    if measure not in measure_columns(rows):
        raise unknown("measure of the study", measure, measure_columns(rows))
    if not math.isfinite(value):
        raise UserError(f"{measure} is {value} here, so nothing can be predicted from it.")
    check_weight(weight)
    if len(rows[list(MODEL_COLUMNS)].drop_duplicates()) > 1:
        raise UserError("The study holds cells of several models; a prediction is for one.")
    warnings: list[str] = []
    own = _is(rows, leave_out)
    kept, seen = _sound(rows[~own], measure, warnings), rows[own]
    domains = kept.domain.nunique()
    if domains < FEWEST_DOMAINS:
        besides = f" besides {leave_out[0]} itself" if leave_out is not None and len(seen) else ""
        raise UserError(f"A prediction needs a study of at least {FEWEST_DOMAINS} domains; this one has {domains}{besides}.")
    # One outcome more, whose line is the difference of the others' lines.
    kept = kept.assign(net=kept.gain - weight * kept.forgetting)
    tunings = _complete(kept, warnings)
    table = pd.DataFrame(
        [_prediction(kept, tuning, outcome, measure, value, seen) for tuning in tunings for outcome in PREDICTED],
        columns=list(COLUMNS),
    )
    warnings += _doubts(table, measure, value, kept, zero_shot)
    nearest = _nearest(kept, measure, value)
    return Forecast(table, nearest, warnings, _advice(kept, tunings, table, nearest, measure, value, weight))


def _is(rows: pd.DataFrame, named: tuple[str, str] | None) -> pd.Series:
    if named is None:
        return pd.Series(False, index=rows.index)
    return (rows.domain == named[0]) & (rows.edition == named[1])


def _sound(rows: pd.DataFrame, measure: str, warnings: list[str]) -> pd.DataFrame:
    """The rows of domains that have every number."""
    broken = rows.loc[~np.isfinite(rows[[measure, "gain", "forgetting"]].to_numpy(float)).all(axis=1), "domain"].unique()
    if len(broken):
        warnings.append(f"{', '.join(broken)} left out: no number for {measure}, gain or forgetting in the study")
    return rows[~rows.domain.isin(broken)]


def _complete(rows: pd.DataFrame, warnings: list[str]) -> list[str]:
    """The tunings that were tried on every domain: lines through different domains do not compare."""
    domains, tried = rows.domain.nunique(), rows.groupby("tuning", sort=False).domain.nunique()
    for tuning, n in tried[tried < domains].items():
        warnings.append(f"{tuning} left out: the study has it on {n} of {domains} domains")
    found = [str(tuning) for tuning in tried[tried == domains].index]
    if not found:
        raise UserError("The study has no tuning that was tried on all of its domains: finish it first.")
    return found


def _of(rows: pd.DataFrame, tuning: str, measure: str, outcome: str) -> pd.DataFrame:
    return means_by_domain(rows[rows.tuning == tuning], measure, outcome)


def _fit(x: Any, y: Any, measure: str) -> Line:
    try:
        return fit(x, y)
    except ValueError as error:
        raise UserError(f"The study gives no line over {measure}: {error}.") from error


def _prediction(
    rows: pd.DataFrame, tuning: str, outcome: str, measure: str, value: float, seen: pd.DataFrame
) -> dict[str, Any]:
    of = _of(rows, tuning, measure, outcome)
    found: dict[str, Any] = {
        "tuning": tuning,
        "strategy": rows.loc[rows.tuning == tuning, "strategy"].iloc[0],
        "outcome": outcome,
        "measure": measure,
        "value": value,
        "n": len(of),
        "observed": float(seen.loc[seen.tuning == tuning, outcome].mean()),
    }
    if len(of) < FEWEST_DOMAINS:  # gain over an error of zero
        return found
    line = _fit(of.x, of.y, measure)
    expected = predict(line, value)
    try:
        error = float(np.abs(leave_one_out(of.x, of.y)).mean())
    except ValueError:
        error = math.nan
    of_mean = float(np.abs(left_out_of_mean(of.y)).mean())
    found.update(expected._asdict(), predicted=expected.value, value=value, outside=not line.covers(value))
    return {**found, "slope": line.slope, "r2": line.r2, "p": line.p, "loo_mae": error, "loo_mae_of_mean": of_mean}


def _doubts(table: pd.DataFrame, measure: str, value: float, rows: pd.DataFrame, zero_shot: float | None) -> list[str]:
    found = []
    if table.outside.eq(True).any():
        low, high = rows[measure].min(), rows[measure].max()
        found.append(
            f"{measure} {value:.4g} lies outside the study's {low:.4g} to {high:.4g}: the lines are guesses there, and their "
            "intervals too narrow"
        )
    gains = table[table.outcome == "gain"]
    if zero_shot is not None and (over := gains[gains.predicted > 100 - zero_shot]).size:
        found.append(
            f"the gain predicted for {', '.join(over.tuning)} is more than the {100 - zero_shot:.1f} points that are missing "
            "to 100 %"
        )
    flat = table[(table.outcome != "gain_over_error") & ~(table.p < 0.05)]
    for outcome, of in flat.groupby("outcome", sort=False):
        found.append(f"the study shows no slope of {outcome} over {measure} (p at least 0.05) for {', '.join(of.tuning)}")
    return found


def _nearest(rows: pd.DataFrame, measure: str, value: float) -> pd.DataFrame:
    """The domains whose measure is nearest, nearest first; of each a row a tuning with its outcomes, means over seeds."""
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
    net = {tuning: predict(_fit(*_xy(rows, tuning, measure), measure), value) for tuning in tunings}
    best = max(net, key=lambda tuning: net[tuning].value)
    of = {row.outcome: row for row in table[table.tuning == best].itertuples()}
    balance = "gain less forgetting" if weight == 1 else f"gain less {weight:g} x forgetting"
    cells = rows[rows.tuning == best]
    rests_on = tuple(f"{r.domain}-{r.tuning}-{r.seed}" for r in cells.itertuples())
    if net[best].value <= 0:
        return Advice(
            None,
            None,
            f"leave the model as it is: no tuning is predicted to come out above zero in {balance}; the best, {best}, at "
            f"{net[best].value:+z.1f}",
            rests_on,
        )
    strategy = str(cells.strategy.iloc[0])
    same = [tuning for tuning in tunings if tuning != best and not _better(rows, best, tuning, measure, value)]
    seen = "; ".join(
        f"{r.domain} ({measure} {getattr(r, measure):.4g}) gained {r.gain:+z.1f} "
        f"and changed the others by {-r.forgetting:+z.1f}"
        for r in nearest[nearest.tuning == best].itertuples()
    )
    sentence = (
        f"--strategy {strategy} --tuning {best}: {balance} predicted at {net[best].value:+z.1f} "
        f"[{net[best].low:+z.1f}, {net[best].high:+z.1f}], from gain {of['gain'].predicted:+z.1f} and "
        f"{-of['forgetting'].predicted:+z.1f} on the others, by {of['gain'].n} domains; nearest: {seen}"
    )
    if net[best].low <= 0:
        sentence += ". The interval holds zero: it may also come out below the model as it is"
    if same:
        sentence += f". Not told apart from it: {', '.join(same)}"
    return Advice(strategy, best, sentence, rests_on)


def _xy(rows: pd.DataFrame, tuning: str, measure: str) -> tuple[Any, Any]:
    of = _of(rows, tuning, measure, "net")
    return of.x, of.y


def _better(rows: pd.DataFrame, best: str, other: str, measure: str, value: float) -> bool:
    """Whether the prediction interval of the difference, domain by domain, lies above zero."""
    one, two = (_of(rows, tuning, measure, "net") for tuning in (best, other))
    return predict(_fit(one.x, one.y - two.y.reindex(one.index), measure), value).low > 0
