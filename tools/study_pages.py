"""The tables of docs/study.md and docs/study_tables.md, from the CSV files of `tools.broad_study`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pandas as pd

from harness.study.confirmatory import IIMM, SUPPORTED, of_families
from harness.study.markdown import number, span, table
from harness.study.trial import SHOWN, summary_markdown
from metrics.study_table import SHIPPED


@cache
def stored(name: str) -> pd.DataFrame:
    """Return a table of the broad study."""
    return pd.read_csv(SHIPPED.with_name(f"{name}.csv"))


def shown(name: str) -> str:
    """Return a table of the plan as Markdown."""
    return SHOWN[name][1](stored(name)) if SHIPPED.with_name(f"{name}.csv").is_file() else "Not measured yet."


def summary() -> str:
    """Return the best predictors of each outcome over all models and tunings."""
    return summary_markdown(stored("measures"))


def cells() -> str:
    """Return, for each model and tuning, cells, gain, changes of the other tasks and accuracies before and after."""
    rows = stored("table")
    rows = rows.assign(change=-rows.forgetting)
    names = ("zero_shot", "fine_tuned", "gain", "gain_over_error", "gain_ood", "change", "worst_other_change")
    body = [
        (f"`{model}`", f"`{tuning}`", len(group), *(number(group[name].mean(), 1) for name in names),
         int(group.at_edge.fillna("").str.contains("lr").sum()))
        for (model, tuning), group in rows.groupby(["model", "tuning"], sort=False)
    ]  # fmt: skip
    heads = ("model", "tuning", "tasks", "before", "after", "gain", "gain over error, %", "gain out of distribution",
             "change of the others", "of the worst other", "rate at an end of the grid")  # fmt: skip
    return table(heads, body)


OUTCOME_HEADS = {"gain": "gain", "gain_over_error": "gain over error", "forgetting": "forgetting"}


def iimm_lines() -> str:
    """Return the signed R2 of IIMM with its interval, per model and tuning, one column per outcome. Supported: bold."""
    rows, lines = stored("measures"), stored("confirmatory")
    keys = lines.loc[lines.verdict == SUPPORTED, ["model", "tuning", "outcome"]]
    supported = {*keys.itertuples(index=False, name=None)}
    body = []
    for (model, tuning), group in rows[rows.measure == IIMM].groupby(["model", "tuning"], sort=False):
        cells = []
        for r in group.set_index("outcome").loc[list(OUTCOME_HEADS)].reset_index().itertuples():
            text, key = span(r.r2, r.r2_low, r.r2_high), (model, tuning, r.outcome)
            cells.append(f"**{text}**" if key in supported else text)
        body.append((f"`{model}`", f"`{tuning}`", *cells))
    return table(("model", "tuning", *OUTCOME_HEADS.values()), body)


def rivals() -> str:
    """Return, per model and outcome, the mean over tunings of the signed R2 of IIMM and of the best predictors."""
    rows = stored("measures")
    body = []
    for outcome, names in RIVALS.items():
        of_outcome = rows[rows.outcome == outcome]
        for name in names:
            means = of_outcome[of_outcome.measure == name].groupby("model", sort=False).r2.mean()
            body.append((OUTCOME_HEADS[outcome], f"`{name}`", *(number(value) for value in means)))
    return table(("outcome", "predictor", *(f"`{model}`" for model in rows.model.unique())), body)


def adds() -> str:
    """Return how many lines of the families keep a slope of IIMM above or below 0, given other predictors."""
    rows = of_families(stored("partial"))
    body = [
        (OUTCOME_HEADS[str(outcome)], given, len(group), int((group.low > 0).sum()), int((group.high < 0).sum()))
        for (outcome, given), group in rows.groupby(["outcome", "given"], sort=False)
    ]
    return table(("outcome", "given", "lines", "slope above 0", "slope below 0"), body)


def difficulty_short() -> str:
    """Return rank correlations of the silhouette and of `correct_pair` with the difficulty before and after `full`."""
    rows = stored("difficulty").set_index(["model", "when", "measure"])
    body = []
    for model in rows.index.unique("model"):
        cells = []
        for when in ("before", "full"):
            silhouette, pair = (rows.loc[model, when, name] for name in ("silhouette", "correct_pair"))
            difference = span(silhouette.difference, silhouette.low, silhouette.high)
            cells += [number(silhouette.rho), number(pair.rho), difference]
        body.append((f"`{model}`", *cells))
    compared = ("silhouette", "`correct_pair`", "difference")
    heads = [f"{when}: {what}" for when in ("before", "after `full`") for what in compared]
    return table(("model", *heads), body)


def prediction_short() -> str:
    """Return the errors of `predict` on left-out tasks per model and outcome, means over the tunings."""
    body = []
    for (model, outcome), group in stored("prediction").groupby(["model", "outcome"], sort=False):
        errors = (number(group[name].mean(), 1) for name in ("error", "error_of_mean"))
        chosen = ", ".join(dict.fromkeys(group.chosen))
        body.append((f"`{model}`", OUTCOME_HEADS[str(outcome)], chosen, *errors, f"{group.inside.sum()} of {group.n.sum()}"))
    return table(("model", "outcome", "chosen", "error", "error of the mean", "inside the interval"), body)


def predict_errors() -> str:
    """Return the errors of `predict` on left-out tasks with the first model, next to those of the mean of the other tasks."""
    rows = stored("prediction")
    body = []
    for tuning, group in rows[rows.model == rows.model[0]].groupby("tuning", sort=False):
        errors = group.set_index("outcome")[["error", "error_of_mean"]]
        body.append([f"`{tuning}`", *(number(errors.loc[o, column], 1) for o in ("gain", "forgetting") for column in errors)])
    return table(["tuning", "gain: `predict`", "gain: mean", "forgetting: `predict`", "forgetting: mean"], body)


RIVALS = {
    "gain": (IIMM, "iimm_intra", "modality_gap"),
    "gain_over_error": (IIMM, "sfda", "linear_probe", "silhouette"),
    "forgetting": (IIMM, "before", "correct_pair", "nce"),
}
"""The predictors of docs/study.md next to IIMM: its image part, and those that lead the summary of the families."""

TABLES: dict[str, Callable[[], str]] = {
    "broad_lines": iimm_lines,
    "broad_rivals": rivals,
    "broad_adds": adds,
    "broad_difficulty_short": difficulty_short,
    "broad_prediction_short": prediction_short,
    "broad_cells": cells,
    "predict_errors": predict_errors,
    "broad_summary": summary,
    **{f"broad_{name}": (lambda name=name: shown(name)) for name in SHOWN},  # type: ignore[misc]
}
