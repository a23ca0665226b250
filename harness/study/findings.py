"""What a study found, as Markdown: which measures predict outcomes, against a mean, zero-shot accuracy, and chance.

    python -m harness.study.findings [STUDY]     a folder or table.csv; without one, the mini edition's

prints the tables of docs/study.md. Our protocol: lines through domains (means over seeds), errors on each domain of the line
through all others. Baselines are the mean of the others, and the line over zero-shot test accuracy. Chance is told by giving
the outcomes to other domains at random, all outcomes and tunings together, so that what hangs together still does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from harness.study.forecast import PREDICTED
from metrics.regression import LEVEL, fit, kendall, leave_one_out, left_out_of_mean, predict
from metrics.study_table import means_by_domain, measure_columns, read, table_path
from models.registry import UserError

ZERO_SHOT = "zero_shot"
MAIN = ("full", "attention")
BEST = 2
SIGNIFICANT = 0.05
COLUMNS = (
    *("tuning", "outcome", "measure", "n", "slope", "low", "high", "r2", "p", "kendall", "error", "error_of_mean"),
    *("error_of_zero_shot", "inside"),
)


class Chance(NamedTuple):
    """Lines with p < 0.05 among all; what shuffled outcomes give: mean, 95 % range, share of shuffles with as many or more."""

    found: int
    lines: int
    mean: float
    low: float
    high: float
    share: float


def lines(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a tuning, outcome and predictor (the study's measures, zero-shot accuracy): columns `COLUMNS`.

    `slope` with its 95 % interval (`low`, `high`) is for one standard deviation of the measure between domains; errors are mean
    absolute ones on domains left out; `inside` counts those that lie in the 95 % prediction interval of the others. A measure
    that is undefined on a domain is left out. Raises ValueError where a line is undefined (fewer than four domains).
    """
    found = []
    for tuning, group in rows.groupby("tuning", sort=False):
        for outcome in PREDICTED:
            zero = np.abs(leave_one_out(*_xy(group, ZERO_SHOT, outcome))).mean()
            for measure in (*_measures(rows), ZERO_SHOT):
                x, y = _xy(group, measure, outcome)
                line, spread = fit(x, y), float(x.std(ddof=1))
                errors = np.abs(leave_one_out(x, y))
                slopes = (line.slope * spread, line.low * spread, line.high * spread)
                ends = (
                    line.r2,
                    line.p,
                    kendall(x, y).tau,
                    errors.mean(),
                    np.abs(left_out_of_mean(y)).mean(),
                    zero,
                    _inside(x, y),
                )
                found.append((tuning, outcome, measure, len(x), *slopes, *ends))
    return pd.DataFrame(found, columns=list(COLUMNS))


def chance(rows: pd.DataFrame, shuffles: int = 10_000, seed: int = 0) -> Chance:
    """How many lines have p < 0.05, and how many of them have when the outcomes belong to other domains.

    Measures and outcomes that are undefined on a domain are left out.
    """
    x = _standard(rows.groupby("domain", sort=False)[_measures(rows)].mean())
    by_tuning = rows.pivot_table(index="domain", columns="tuning", values=list(PREDICTED), aggfunc="mean", sort=False)
    y = _standard(by_tuning.dropna(axis=1))
    n = len(x)
    t = stats.t.ppf(1 - SIGNIFICANT / 2, n - 2)
    least = t / (n - 2 + t**2) ** 0.5
    generator = np.random.default_rng(seed)
    found = int((np.abs(x.T @ y) / n > least).sum())
    shuffled = np.array([(np.abs(x.T @ generator.permutation(y)) / n > least).sum() for _ in range(shuffles)])
    low, high = np.quantile(shuffled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Chance(found, x.shape[1] * y.shape[1], shuffled.mean(), low, high, float((shuffled >= found).mean()))


def against(rows: pd.DataFrame, tuning: str, outcome: str, measure: str) -> dict[str, tuple[float, float, float]]:
    """By baseline, how much smaller the measure's error on left-out domains is: mean over domains, its 95 % interval's ends."""
    group = rows[rows.tuning == tuning]
    x, y = _xy(group, measure, outcome)
    own = np.abs(leave_one_out(x, y))
    baselines = {"mean": left_out_of_mean(y), ZERO_SHOT: leave_one_out(*_xy(group, ZERO_SHOT, outcome))}
    return {name: _interval(np.abs(errors) - own) for name, errors in baselines.items()}


def markdown(rows: pd.DataFrame) -> str:
    """All tables, each after a line that says what it is. Raises ValueError as `lines`."""
    found = lines(rows)
    return "\n\n".join([_outcomes(rows), _best(found), _several(found), _forecasts(rows, found), _counted(rows, found)])


def _outcomes(rows: pd.DataFrame) -> str:
    cells = []
    for tuning, of in rows.groupby("tuning", sort=False):
        means = of.groupby("domain", sort=False)[["gain", "gain_over_error", "gain_ood", "forgetting"]].mean()
        shown = [_span(*_interval(means[name].dropna().to_numpy(float))) for name in means if name != "forgetting"]
        others = _span(*_interval(-means.forgetting.to_numpy(float)))
        between = of.groupby("domain", sort=False)[["gain", "forgetting"]].std().mean()
        cells.append([f"`{tuning}`", *shown, others, f"{between.gain:.1f}, {between.forgetting:.1f}"])
    heads = ("tuning", "gain", "of the error, %", "out of distribution", "on the others", "seeds (gain, others)")
    return _table("Means over domains.", heads, cells)


def _best(found: pd.DataFrame) -> str:
    cells = []
    for (tuning, outcome), of in found[found.measure != ZERO_SHOT].groupby(["tuning", "outcome"], sort=False):
        best, iimm = of.loc[of.error.idxmin()], of[of.measure == "iimm"]
        own = f"{iimm.error.iloc[0]:.2f}" if len(iimm) else "-"
        errors = (f"{best.error:.2f}", own, f"{best.error_of_zero_shot:.2f}", f"{best.error_of_mean:.2f}")
        cells.append([f"`{tuning}`", outcome, f"`{best.measure}`", _signed(best), f"{best.p:.2g}", *errors])
    heads = ("tuning", "outcome", "smallest error", "slope", "p", "its error", "`iimm`", "zero-shot", "mean of others")
    return _table("The measure with the smallest error on left-out domains.", heads, cells)


def _several(found: pd.DataFrame) -> str:
    cells = []
    for (tuning, outcome), of in found[found.tuning.isin(MAIN)].groupby(["tuning", "outcome"], sort=False):
        ranked = of[of.measure != ZERO_SHOT].sort_values("error", kind="stable")
        shown = [*ranked.measure[:BEST], *(name for name in ("iimm", ZERO_SHOT) if name not in set(ranked.measure[:BEST]))]
        for r in of.set_index("measure").loc[[name for name in shown if name in set(of.measure)]].itertuples():
            line = (f"{r.slope:+.2f} [{r.low:+.2f}, {r.high:+.2f}]", f"{r.r2:.2f}", f"{r.p:.2g}", f"{r.kendall:+.2f}")
            cells.append([f"`{tuning}`", outcome, f"`{r.Index}`", *line, f"{r.error:.2f}", f"{r.error_of_mean:.2f}"])
    heads = ("tuning", "outcome", "measure", "slope for one SD", "R2", "p", "tau", "error", "of the mean")
    return _table("Lines of two tunings.", heads, cells)


def _forecasts(rows: pd.DataFrame, found: pd.DataFrame) -> str:
    cells = []
    for r in found[found.measure == "iimm"].itertuples():
        better = against(rows, str(r.tuning), str(r.outcome), "iimm")
        errors = (f"{r.error:.2f}", f"{r.error_of_mean:.2f}", f"{r.error_of_zero_shot:.2f}")
        spans = (_span(*better[name], digits=2) for name in ("mean", ZERO_SHOT))
        cells.append([f"`{r.tuning}`", r.outcome, *errors, *spans, f"{r.inside} of {r.n}"])
    heads = ("tuning", "outcome", "`iimm`", "mean", "zero-shot", "mean - `iimm`", "zero-shot - `iimm`", "in the interval")
    return _table("`predict` with IIMM, each domain left out.", heads, cells)


def _counted(rows: pd.DataFrame, found: pd.DataFrame) -> str:
    c, of = chance(rows), found[found.measure != ZERO_SHOT]
    better = ((of.error < of.error_of_mean).sum(), (of.error < of.error_of_zero_shot).sum())
    least = f"{of.p.min():.2g} (Bonferroni's level: {SIGNIFICANT / c.lines:.2g})"
    return (
        f"{c.lines} lines, {c.found} with p < {SIGNIFICANT}; shuffled {c.mean:.1f} [{c.low:.0f}, {c.high:.0f}], as many or "
        f"more in {100 * c.share:.1f} % of shuffles. Least p {least}. Smaller error than the mean of the others: {better[0]}; "
        f"than the line over zero-shot accuracy: {better[1]}."
    )


def _measures(rows: pd.DataFrame) -> list[str]:
    return [name for name in measure_columns(rows) if rows[name].notna().all()]


def _xy(group: pd.DataFrame, measure: str, outcome: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    of = means_by_domain(group, measure, outcome)
    return of.x.to_numpy(float), of.y.to_numpy(float)


def _inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    found = 0
    for i in range(len(x)):
        expected = predict(fit(np.delete(x, i), np.delete(y, i)), float(x[i]))
        found += expected.low <= y[i] <= expected.high
    return int(found)


def _standard(values: pd.DataFrame) -> NDArray[np.float64]:
    """Columns of mean 0 and mean square 1."""
    of = values.to_numpy(float)
    return (of - of.mean(axis=0)) / of.std(axis=0)


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean and the ends of Student's 95 % interval; domains count as independent."""
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / n**0.5)
    return mean, mean - half, mean + half


def _span(mean: float, low: float, high: float, digits: int = 1) -> str:
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _signed(line: pd.Series) -> str:
    return "up" if line.slope > 0 else "down"


def _table(title: str, heads: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    made = [title, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*made, *(f"| {' | '.join(row)} |" for row in cells)])


if __name__ == "__main__":
    try:
        print(markdown(read(table_path(sys.argv[1] if len(sys.argv) > 1 else None))))
    except (UserError, ValueError) as error:
        raise SystemExit(f"findings: {error}") from error
