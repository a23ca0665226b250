"""The findings of a study as Markdown: how well each measure predicts outcomes, against two baselines and chance.

    python -m harness.study.findings [STUDY]                   folder or table.csv of a study of one model
    python -m harness.study.findings --plan [STUDY ...] [--out FOLDER]

The first prints the tables of docs/study_40.md; its default is the mini edition's study with 40 updates per task. The second
prints the tables of docs/study.md (`harness.study.trial`), of one or several studies such as one per family, and writes them
as CSV. Its default is the broad study.

Protocol of docs/study_40.md (our choice): lines through domains (means over seeds) and leave-one-out errors, the error on each
domain of the line through all others. Baselines are the mean of the others and the line over zero-shot test accuracy. Chance
is estimated by assigning the outcomes to other domains at random. One permutation moves all outcomes and tunings of a domain
together, which keeps their correlations.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from harness.study.forecast import PREDICTED
from harness.study.markdown import span, table
from metrics.means import mean
from metrics.regression import LEVEL, fit, kendall, leave_one_out, left_out_of_mean, predict
from metrics.study_table import FORTY_UPDATES, means_by_domain, measure_columns, read, table_path
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
    """Number of significant lines among all, and over shuffles: its mean, 95 % range, and the share with at least as many."""

    significant: int
    lines: int
    mean: float
    low: float
    high: float
    share: float


def fit_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line per tuning, outcome and predictor (measure or zero-shot accuracy), with the columns `COLUMNS`.

    `slope` and its 95 % interval (`low`, `high`) are per standard deviation of the measure between domains. Errors are mean
    absolute leave-one-out errors. `inside` counts the domains within the 95 % prediction interval of the others. A measure that
    is undefined on a domain is left out.

    Raises:
        ValueError: if a line is undefined (fewer than four domains).
    """
    cells = []
    for tuning, group in rows.groupby("tuning", sort=False):
        for outcome in PREDICTED:
            zero = np.abs(leave_one_out(*_xy(group, ZERO_SHOT, outcome))).mean()
            for measure in (*_measures(rows), ZERO_SHOT):
                x, y = _xy(group, measure, outcome)
                line, spread = fit(x, y), float(x.std(ddof=1))
                errors = np.abs(leave_one_out(x, y))
                slopes = (line.slope * spread, line.low * spread, line.high * spread)
                quality = (
                    line.r2,
                    line.p,
                    kendall(x, y).tau,
                    errors.mean(),
                    np.abs(left_out_of_mean(y)).mean(),
                    zero,
                    _inside(x, y),
                )
                cells.append((tuning, outcome, measure, len(x), *slopes, *quality))
    return pd.DataFrame(cells, columns=list(COLUMNS))


def chance(rows: pd.DataFrame, shuffles: int = 10_000, seed: int = 0) -> Chance:
    """Count the lines with p < 0.05, and compare with the counts after shuffling the outcomes between domains.

    Measures and outcomes that are undefined on a domain are left out.

    Args:
        rows: table of the study.
        shuffles: number of random permutations.
        seed: seed of the permutations.
    """
    x = _standard(rows.groupby("domain", sort=False)[_measures(rows)].mean())
    by_tuning = rows.pivot_table(index="domain", columns="tuning", values=list(PREDICTED), aggfunc="mean", sort=False)
    y = _standard(by_tuning.dropna(axis=1))
    n = len(x)
    t = stats.t.ppf(1 - SIGNIFICANT / 2, n - 2)
    least = t / (n - 2 + t**2) ** 0.5
    generator = np.random.default_rng(seed)
    significant = int((np.abs(x.T @ y) / n > least).sum())
    shuffled = np.array([(np.abs(x.T @ generator.permutation(y)) / n > least).sum() for _ in range(shuffles)])
    low, high = np.quantile(shuffled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Chance(significant, x.shape[1] * y.shape[1], shuffled.mean(), low, high, float((shuffled >= significant).mean()))


def error_reductions(rows: pd.DataFrame, tuning: str, outcome: str, measure: str) -> dict[str, tuple[float, float, float]]:
    """Return how much smaller the leave-one-out error of a measure is than that of each baseline.

    Args:
        rows: table of the study.
        tuning: name of the tuning.
        outcome: name of the outcome.
        measure: name of the measure.

    Returns:
        Baseline -> (mean over domains, lower end, upper end of the 95 % interval). Positive values favour the measure.
    """
    group = rows[rows.tuning == tuning]
    x, y = _xy(group, measure, outcome)
    measure_errors = np.abs(leave_one_out(x, y))
    baselines = {"mean": left_out_of_mean(y), ZERO_SHOT: leave_one_out(*_xy(group, ZERO_SHOT, outcome))}
    return {name: _interval(np.abs(errors) - measure_errors) for name, errors in baselines.items()}


def markdown(rows: pd.DataFrame) -> str:
    """Return all tables as Markdown, each below a line with its title. Raises ValueError as `fit_lines`."""
    lines = fit_lines(rows)
    return "\n\n".join([_outcomes(rows), _best(lines), _main_tunings(lines), _iimm(rows, lines), _counts(rows, lines)])


def _outcomes(rows: pd.DataFrame) -> str:
    cells = []
    for tuning, group in rows.groupby("tuning", sort=False):
        means = group.groupby("domain", sort=False)[["gain", "gain_over_error", "gain_ood", "forgetting"]].mean()
        shown = [span(*_interval(means[name].dropna().to_numpy(float)), digits=1) for name in means if name != "forgetting"]
        others = span(*_interval(-means.forgetting.to_numpy(float)), digits=1)
        deviations = group.groupby("domain", sort=False)[["gain", "forgetting"]].std().mean()
        cells.append([f"`{tuning}`", *shown, others, f"{deviations.gain:.1f}, {deviations.forgetting:.1f}"])
    heads = (
        "tuning",
        "gain, points",
        "gain over zero-shot error, %",
        "gain out of distribution, points",
        "change on other domains, points",
        "SD over seeds: gain, change",
    )
    return _table("Mean outcomes over domains.", heads, cells)


def _best(lines: pd.DataFrame) -> str:
    cells = []
    for (tuning, outcome), group in lines[lines.measure != ZERO_SHOT].groupby(["tuning", "outcome"], sort=False):
        best, iimm = group.loc[group.error.idxmin()], group[group.measure == "iimm"]
        iimm_error = f"{iimm.error.iloc[0]:.2f}" if len(iimm) else "-"
        errors = (f"{best.error:.2f}", iimm_error, f"{best.error_of_zero_shot:.2f}", f"{best.error_of_mean:.2f}")
        cells.append(
            [f"`{tuning}`", outcome, f"`{best.measure}`", "up" if best.slope > 0 else "down", f"{best.p:.2g}", *errors]
        )
    heads = (
        "tuning",
        "outcome",
        "best measure",
        "slope",
        "p",
        "error of the best",
        "error of `iimm`",
        "error of zero-shot accuracy",
        "error of the mean",
    )
    return _table("The measure with the smallest leave-one-out error.", heads, cells)


def _main_tunings(lines: pd.DataFrame) -> str:
    cells = []
    for (tuning, outcome), group in lines[lines.tuning.isin(MAIN)].groupby(["tuning", "outcome"], sort=False):
        ranked = group[group.measure != ZERO_SHOT].sort_values("error", kind="stable")
        shown = [*ranked.measure[:BEST], *(name for name in ("iimm", ZERO_SHOT) if name not in set(ranked.measure[:BEST]))]
        for r in group.set_index("measure").loc[[name for name in shown if name in set(group.measure)]].itertuples():
            line = (f"{r.slope:+.2f} [{r.low:+.2f}, {r.high:+.2f}]", f"{r.r2:.2f}", f"{r.p:.2g}", f"{r.kendall:+.2f}")
            cells.append([f"`{tuning}`", outcome, f"`{r.Index}`", *line, f"{r.error:.2f}", f"{r.error_of_mean:.2f}"])
    heads = ("tuning", "outcome", "measure", "slope per SD", "R2", "p", "Kendall's tau", "error", "error of the mean")
    return _table("Lines of `full` and `attention`.", heads, cells)


def _iimm(rows: pd.DataFrame, lines: pd.DataFrame) -> str:
    cells = []
    for r in lines[lines.measure == "iimm"].itertuples():
        reductions = error_reductions(rows, str(r.tuning), str(r.outcome), "iimm")
        errors = (f"{r.error:.2f}", f"{r.error_of_mean:.2f}", f"{r.error_of_zero_shot:.2f}")
        spans = (span(*reductions[name]) for name in ("mean", ZERO_SHOT))
        cells.append([f"`{r.tuning}`", r.outcome, *errors, *spans, f"{r.inside} of {r.n}"])
    heads = (
        "tuning",
        "outcome",
        "error of `iimm`",
        "error of the mean",
        "error of zero-shot accuracy",
        "mean minus `iimm`",
        "zero-shot minus `iimm`",
        "in the interval",
    )
    return _table("Leave-one-out errors of `predict` with IIMM.", heads, cells)


def _counts(rows: pd.DataFrame, lines: pd.DataFrame) -> str:
    by_chance, measures = chance(rows), lines[lines.measure != ZERO_SHOT]
    beats_mean = (measures.error < measures.error_of_mean).sum()
    beats_zero_shot = (measures.error < measures.error_of_zero_shot).sum()
    return (
        f"{by_chance.significant} of the {by_chance.lines} lines have p < {SIGNIFICANT}. When the outcomes are shuffled "
        f"between domains, {by_chance.mean:.1f} lines have it on average, and {by_chance.low:.0f} to {by_chance.high:.0f} in "
        f"95 % of the shuffles. {100 * by_chance.share:.1f} % of the shuffles have {by_chance.significant} lines or more. The "
        f"smallest p is {measures.p.min():.2g}, and Bonferroni's level is {SIGNIFICANT / by_chance.lines:.2g}. On left-out "
        f"domains, {beats_mean} lines have a smaller error than the mean of the others, and {beats_zero_shot} a smaller error "
        f"than the line over zero-shot accuracy."
    )


def _measures(rows: pd.DataFrame) -> list[str]:
    return [name for name in measure_columns(rows) if rows[name].notna().all()]


def _xy(group: pd.DataFrame, measure: str, outcome: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    means = means_by_domain(group, measure, outcome)
    return means.x.to_numpy(float), means.y.to_numpy(float)


def _inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    predicted = [predict(fit(np.delete(x, i), np.delete(y, i)), float(x[i])) for i in range(len(x))]
    return sum(int(expected.low <= value <= expected.high) for expected, value in zip(predicted, y, strict=True))


def _standard(values: pd.DataFrame) -> NDArray[np.float64]:
    """Scale columns to mean 0 and mean square 1."""
    columns = values.to_numpy(float)
    scaled: NDArray[np.float64] = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return scaled


def _interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean and Student's 95 % interval. Domains count as independent."""
    result = mean(list(values))
    return result.mean, result.low, result.high


def _table(title: str, heads: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    return f"{title}\n\n{table(heads, cells)}"


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables, and write those of the plan with --out.

    Raises:
        SystemExit: for a study that is missing, damaged or too small, with the reason.
    """
    from harness.study.noise import read_changes
    from harness.study.predictors import read_studies
    from harness.study.trial import trial_markdown, trial_tables, write_trial

    parser = argparse.ArgumentParser(prog="findings", description="Print the findings of a study as Markdown.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="folder or table.csv (default: a study that is included)")
    parser.add_argument("--plan", action="store_true", help="the tables of the plan of the broad study")
    parser.add_argument("--out", metavar="FOLDER", help="with --plan: also write each table as CSV")
    arguments = parser.parse_args(words)
    try:
        if not arguments.plan:
            if len(arguments.studies) > 1 or arguments.out:
                raise UserError("Several studies and --out need --plan.")
            rows = read(table_path(arguments.studies[0] if arguments.studies else None, FORTY_UPDATES))
            if rows.model.nunique() > 1:
                raise UserError("The study has cells of several models. --plan tabulates several models.")
            print(markdown(rows))
            return
        rows = read_studies(arguments.studies)
        changes = read_changes([table_path(path) for path in arguments.studies or [None]])
        tables = trial_tables(rows, changes)
        print(trial_markdown(tables))
        if arguments.out:
            write_trial(tables, Path(arguments.out))
    except (UserError, ValueError, OSError) as error:
        raise SystemExit(f"findings: {error}") from error


if __name__ == "__main__":
    main()
