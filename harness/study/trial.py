"""All tables of the plan (docs/study_plan.md) for one or several studies, as Markdown and as CSV.

The confirmatory tables come first. Everything below the heading "Exploratory" is exploratory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from harness.records.files import write_table
from harness.study.confirmatory import IIMM, confirmatory, of_families, overall
from harness.study.difficulty import difficulty
from harness.study.exploratory import component_lines, measure_lines, partial_lines, pooled_lines, trade_off
from harness.study.forecast import predictor_label
from harness.study.markdown import number, span, table
from harness.study.noise import reliabilities
from harness.study.predictors import without_ceilings
from harness.study.selection import FEWEST, check, choose_predictors
from harness.study.small_studies import small_studies
from metrics.multiplicity import SHUFFLES

BEST = 5
"""Predictors shown per model, tuning and outcome, next to IIMM."""
CONFIRMATORY = ("confirmatory", "claims", "without_ceilings")


def trial_tables(
    rows: pd.DataFrame, changes: pd.DataFrame | None = None, shuffles: int = SHUFFLES, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """Return all tables by name, the confirmatory ones (`CONFIRMATORY`) first.

    Args:
        rows: table of one or several studies with baselines (`harness.study.predictors.read_studies`).
        changes: changes on single domains (`harness.study.noise.read_changes`).
        shuffles: number of random permutations.
        seed: seed of the permutations.
    """
    lines = confirmatory(rows, shuffles, seed)
    tables = {
        "confirmatory": lines,
        "claims": overall(lines),
        "without_ceilings": confirmatory(without_ceilings(rows), shuffles, seed),
        "measures": measure_lines(rows, shuffles, seed),
        "partial": partial_lines(rows),
        "components": component_lines(rows),
        "reliability": reliabilities(rows, changes),
        "trade_off": trade_off(rows),
        "prediction": predictions(rows),
        "difficulty": difficulty(rows),
        "small_studies": small_studies(rows),
    }
    if of_families(rows).model.nunique() > 1:
        tables["families"] = pooled_lines(rows, shuffles=shuffles, seed=seed)
    return tables


def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the errors and coverage of `predict` on left-out domains by model (`harness.study.selection.check`).

    `chosen` are the predictors that all domains of the model choose. Models with fewer than six domains are left out.
    """
    checked = [
        check(of_model).assign(model=str(model), chosen=predictor_label(choose_predictors(of_model).names))
        for model, of_model in rows.groupby("model", sort=False)
        if of_model.domain.nunique() >= FEWEST[1]
    ]
    heads = ["model", "tuning", "outcome", "chosen", "n", "error", "error_of_mean", "inside"]
    return pd.concat(checked, ignore_index=True)[heads] if checked else pd.DataFrame(columns=heads)


def write_trial(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write each table to FOLDER/NAME.csv and return the paths.

    Raises:
        OSError: a file cannot be written.
    """
    paths = [folder / f"{name}.csv" for name in tables]
    folder.mkdir(parents=True, exist_ok=True)
    for path, rows in zip(paths, tables.values(), strict=True):
        write_table(rows, path)
    return paths


def trial_markdown(tables: dict[str, pd.DataFrame]) -> str:
    """Return the tables as Markdown, with the confirmatory and exploratory ones under separate headings."""
    parts = ["## Confirmatory"]
    for name, (title, shown) in SHOWN.items():
        if name == "measures":
            parts.append("## Exploratory")
        if name in tables:
            parts += [title, shown(tables[name])]
    return "\n\n".join(parts)


def predictor_summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Return how well each predictor does over all families and tunings, the best of each outcome first.

    Args:
        lines: the table `measures` of `trial_tables`. Only those of the families count (`of_families`).

    Returns:
        One row per outcome and predictor: number of lines, means of the signed R2 and of the R2 on left-out tasks, lines with
        an R2 on left-out tasks above 0, and lines whose p of the permutation maximum is below 0.05.
    """
    lines = of_families(lines)
    marked = lines.assign(above=lines.left_out_r2 > 0, significant=lines.p_maximum < 0.05)
    groups = marked.groupby(["outcome", "measure"], sort=False)
    found = groups.agg(
        lines=("r2", "count"),
        r2=("r2", "mean"),
        left_out_r2=("left_out_r2", "mean"),
        above=("above", "sum"),
        significant=("significant", "sum"),
    ).reset_index()
    order = {outcome: i for i, outcome in enumerate(lines.outcome.unique())}
    found = found.assign(order=found.outcome.map(order)).sort_values(
        ["order", "left_out_r2"], ascending=[True, False], kind="stable"
    )
    return found.drop(columns="order").reset_index(drop=True)


def _confirmatory(lines: pd.DataFrame) -> str:
    cells = [
        (r.model, r.tuning, r.outcome, r.n, span(r.slope, r.low, r.high), span(r.r2, r.r2_low, r.r2_high), _p(r.p),
         _p(r.p_holm), _p(r.p_maximum), span(r.tau, r.tau_low, r.tau_high), number(r.left_out_r2),
         f"{number(r.r2_without_extremes)} ({r.extremes})", f"{r.verdict}{', useful' if r.useful else ''}")
        for r in lines.itertuples()
    ]  # fmt: skip
    heads = ("model", "tuning", "outcome", "n", "slope", "signed R2", "p", "p (Holm)", "p (maximum)", "tau", "R2 left out")
    return table((*heads, "R2 without two extremes", "verdict"), cells)


def _measures(lines: pd.DataFrame) -> str:
    cells = []
    for (model, tuning, outcome), group in lines.groupby(["model", "tuning", "outcome"], sort=False):
        ranked = group.sort_values("left_out_r2", ascending=False, kind="stable")
        shown = pd.concat([ranked.head(BEST), ranked[(ranked.measure == IIMM) & ~ranked.index.isin(ranked.head(BEST).index)]])
        cells += [
            (model, tuning, outcome, f"`{r.measure}`", r.n, span(r.r2, r.r2_low, r.r2_high), _p(r.p), _p(r.p_holm),
             _p(r.p_maximum), number(r.left_out_r2))
            for r in shown.itertuples()
        ]  # fmt: skip
    heads = ("model", "tuning", "outcome", "predictor", "n", "signed R2", "p", "p (Holm)", "p (maximum)", "R2 left out")
    return table(heads, cells)


def _partial(lines: pd.DataFrame) -> str:
    cells = [
        (r.model, r.tuning, r.outcome, r.given, r.n, span(r.slope, r.low, r.high), _p(r.p), number(r.partial_r))
        for r in lines.itertuples()
    ]
    return table(("model", "tuning", "outcome", "given", "n", "slope", "p", "partial r"), cells)


def _families(lines: pd.DataFrame) -> str:
    cells = [
        (r.tuning, r.outcome, r.families, r.n, span(r.slope, r.low, r.high), _p(r.p), _p(r.p_permutation),
         *(number(value) for value in (r.family_sd, r.task_sd, r.residual_sd)))
        for r in lines.itertuples()
    ]  # fmt: skip
    heads = (
        "tuning",
        "outcome",
        "families",
        "n",
        "slope",
        "p",
        "p (permutation)",
        "SD of slopes",
        "SD of tasks",
        "SD of the rest",
    )
    return table(heads, cells)


def _reliability(lines: pd.DataFrame) -> str:
    cells = [
        (r.model, r.tuning, r.outcome, f"`{r.measure}`", r.n, number(r.r2),
         f"{number(r.reliability_low)} to {number(r.reliability_high)}",
         f"{number(r.corrected_low)} to {number(r.corrected_high)}", number(r.sd))
        for r in lines.itertuples()
    ]  # fmt: skip
    heads = ("model", "tuning", "outcome", "measure", "n", "signed R2", "reliability", "corrected R2", "SD of the outcome")
    return table(heads, cells)


def _trade_off(lines: pd.DataFrame) -> str:
    cells = [
        (r.model, r.tuning, r.n, span(r.gain, r.gain_low, r.gain_high, 1), span(r.change, r.change_low, r.change_high, 1),
         number(r.r_gain_forgetting))
        for r in lines.itertuples()
    ]  # fmt: skip
    return table(("model", "tuning", "n", "gain", "change on other tasks", "r of gain and forgetting"), cells)


def _difficulty(lines: pd.DataFrame) -> str:
    cells = [
        (
            r.model,
            r.when,
            f"`{r.measure}`",
            r.n,
            number(r.rho),
            span(r.difference, r.low, r.high),
            "yes" if r.better else "no",
        )
        for r in lines.itertuples()
    ]
    heads = ("model", "difficulty", "predictor", "n", "rho", "absolute rho minus that of `correct_pair`", "better")
    return table(heads, cells)


def _plain(numbers: pd.DataFrame, digits: int = 2) -> str:
    cells = [
        tuple(number(value, digits) if isinstance(value, float) else value for value in row)
        for row in numbers.itertuples(index=False, name=None)
    ]
    return table(map(str, numbers.columns), cells)


def summary_markdown(lines: pd.DataFrame) -> str:
    """Return the best predictors of each outcome, and IIMM, by `predictor_summary`."""
    cells = []
    for outcome, group in predictor_summary(lines).groupby("outcome", sort=False):
        best = group.head(BEST)
        for r in pd.concat([best, group[(group.measure == IIMM) & ~group.index.isin(best.index)]]).itertuples():
            cells.append(
                (outcome, f"`{r.measure}`", r.lines, number(r.r2), number(r.left_out_r2), f"{r.above}", f"{r.significant}")
            )
    heads = ("outcome", "predictor", "lines", "mean signed R2", "mean R2 left out", "left out above 0", "p (maximum) < 0.05")
    return table(heads, cells)


def _p(value: float) -> str:
    return "-" if value != value else f"{value:.2g}"


SHOWN: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "claims": ("Verdicts by outcome.", _plain),
    "confirmatory": ("Lines over IIMM, slopes per standard deviation.", _confirmatory),
    "without_ceilings": ("The same without tasks near 100 %, slopes per standard deviation.", _confirmatory),
    "measures": (f"The {BEST} predictors with the largest R2 on left-out tasks, and IIMM.", _measures),
    "partial": ("IIMM given other predictors, slopes per standard deviation.", _partial),
    "families": ("Families together: mean slope over families per standard deviation.", _families),
    "components": ("Signed R2 of IIMM, its components, and w intra + (1 - w) inter.", _plain),
    "reliability": ("Reliability of the outcomes, and R2 corrected for it.", _reliability),
    "trade_off": ("Learning against forgetting, points.", _trade_off),
    "prediction": ("Errors of `predict` on left-out tasks, with 95 % intervals.", _plain),
    "difficulty": ("Rank correlation with the difficulty of a task.", _difficulty),
    "small_studies": ("Signed R2 of IIMM in random choices of few of the tasks, percentages of the choices.", _plain),
}
"""Title and Markdown of each table, in the order of the page. Those from `measures` on are exploratory."""
