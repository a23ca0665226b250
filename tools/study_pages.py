"""The tables of docs/study.md, from the CSV files of `tools.broad_study`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pandas as pd

from harness.study.markdown import number, table
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


def predict_errors() -> str:
    """Return the errors of `predict` on left-out tasks with the first model, next to those of the mean of the other tasks."""
    rows = stored("prediction")
    body = []
    for tuning, group in rows[rows.model == rows.model[0]].groupby("tuning", sort=False):
        errors = group.set_index("outcome")[["error", "error_of_mean"]]
        body.append([f"`{tuning}`", *(number(errors.loc[o, column], 1) for o in ("gain", "forgetting") for column in errors)])
    return table(["tuning", "gain: `predict`", "gain: mean", "forgetting: `predict`", "forgetting: mean"], body)


TABLES: dict[str, Callable[[], str]] = {
    "broad_cells": cells,
    "predict_errors": predict_errors,
    "broad_summary": summary,
    **{f"broad_{name}": (lambda name=name: shown(name)) for name in SHOWN},  # type: ignore[misc]
}
