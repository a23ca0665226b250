"""The tables of a study: one row per cell from its records, and lines through the domains. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from metrics.regression import fit, kendall, leave_one_out, left_out_of_mean
from metrics.study_table import IDENTITY, MODEL_COLUMNS, OUTCOMES, means_by_domain, measure_columns

FACTS = ("classes", "n_train", "n_val", "n_test", "n_ood", "others", "updates", "trainable_params", "train_seconds")
ACCURACIES = (
    *("zero_shot", "fine_tuned", "zero_shot_val", "fine_tuned_val", "zero_shot_ood", "fine_tuned_ood"),
    *("worst_other", "worst_other_change"),
)
COLUMNS = (*IDENTITY, *FACTS, *ACCURACIES, *OUTCOMES, "measured")
OTHER_PROMPTS = ("zero_shot_other_prompts", "fine_tuned_other_prompts", "forgetting_other_prompts")
PROTOCOL_COLUMNS = (
    *("protocol", "prompts", "lr", "weight_decay", "rank", "reduction", "best_pass", "passes", "tried", "at_edge"),
    *(*OTHER_PROMPTS, "class_entropy", "device"),
)
"""Columns after the measures: how a cell was trained, accuracies with the kind of prompts that is not the study's, the entropy
of the class shares of the training images in nats, and the device that trained the cell."""
CHANGE_COLUMNS = ("domain", "tuning", "seed", "other", "n", "before", "after", "change")
BEFORE_KEYS = {"ensemble": "accuracy", "one": "accuracy_one"}
AFTER_KEYS = {"ensemble": "after", "one": "after_one"}
"""Keys of accuracies in the records before training and of cells, by kind of prompts."""
REGRESSION_COLUMNS = (
    *(*MODEL_COLUMNS, "tuning", "strategy", "outcome", "measure", "n"),
    *("slope", "slope_low", "slope_high", "intercept", "r2", "p"),
    *("kendall", "kendall_p", "loo_mae", "loo_rmse", "loo_mae_of_mean", "reason"),
)


def cell_row(cell: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]], measures: Sequence[str]) -> dict[str, Any]:
    """Return the row of a cell. Accuracies are in percent.

    Forgetting is the mean over the other domains of zero-shot minus fine-tuned accuracy. The domain with the largest loss is
    named in `worst_other`. Undefined values are NaN: without an out-of-distribution set, or a gain over an error of zero.

    Args:
        cell: record of the cell.
        before: record before training of each domain by name.
        measures: names of the measures.
    """
    identity, prompts = cell["identity"], cell["identity"].get("prompts", "ensemble")
    after, accuracy = cell[AFTER_KEYS[prompts]], BEFORE_KEYS[prompts]
    name, zero_shot = identity["domain"], before[identity["domain"]]
    row: dict[str, Any] = {key: identity[key] for key in IDENTITY}
    for split, ending in (("test", ""), ("val", "_val")):
        change = {n: percent(after[split][n]) - percent(before[n][accuracy][split]) for n in after[split]}
        gain, zero = change.pop(name), percent(zero_shot[accuracy][split])
        row[f"zero_shot{ending}"], row[f"fine_tuned{ending}"] = zero, percent(after[split][name])
        row[f"gain{ending}"] = gain
        row[f"gain_over_error{ending}"] = 100 * gain / (100 - zero) if zero < 100 else math.nan
        row[f"forgetting{ending}"] = -float(np.mean(list(change.values())))
        if split == "test":
            worst = min(change, key=change.__getitem__)
            row.update(others=len(change), worst_other=worst, worst_other_change=change[worst])
        row[f"n_{split}"] = after[split][name][1]
    ood = after["ood"].get(name)
    row["zero_shot_ood"] = math.nan if ood is None else percent(zero_shot[accuracy]["ood"])
    row["fine_tuned_ood"] = math.nan if ood is None else percent(ood)
    row["gain_ood"] = row["fine_tuned_ood"] - row["zero_shot_ood"]
    row["n_ood"] = 0 if ood is None else ood[1]
    row.update({key: zero_shot[key] for key in ("classes", "n_train", "measured")})
    row.update({key: cell[key] for key in ("updates", "trainable_params", "train_seconds")})
    row.update({measure: _measure(zero_shot, measure) for measure in measures})
    other = next(kind for kind in AFTER_KEYS if kind != prompts)
    # Older records lack it.
    row["class_entropy"] = zero_shot.get("class_entropy", math.nan)
    row["device"] = cell.get("machine", {}).get("device", "")
    return {**row, **_training(cell, prompts), **_other_prompts(cell, before, other)}


def _training(cell: Mapping[str, Any], prompts: str) -> dict[str, Any]:
    """Return how a cell was trained: the chosen settings, or the fixed ones of a cell without a choice."""
    identity = cell["identity"]
    options, tuning = identity.get("options", {}), identity.get("tuning_options", {})
    rate = options.get("lr_by_task", {}).get(identity["domain"], options.get("lr", math.nan))
    fixed = {"lr": rate, "weight_decay": options.get("weight_decay", math.nan), "tried": 1, "at_edge": ""}
    sizes = {name: tuning.get(name, math.nan) for name in ("rank", "reduction")}
    chosen = {"best_pass": math.nan, "passes": math.nan, **fixed, **sizes, **cell.get("chosen", {})}
    # Floats, so that a table without a missing value has the same types.
    chosen.update({name: float(chosen[name]) for name in ("lr", "weight_decay", "rank", "reduction", "best_pass", "passes")})
    return {"protocol": identity.get("protocol", "mini"), "prompts": prompts, **chosen}


def _other_prompts(cell: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, float]:
    """Return test accuracies and forgetting with the other kind of prompts; NaN if older records lack them."""
    name, key = cell["identity"]["domain"], BEFORE_KEYS[kind]
    after = cell.get(AFTER_KEYS[kind], {}).get("test", {})
    if not after or any(key not in before[domain] for domain in after):
        return dict.fromkeys(OTHER_PROMPTS, math.nan)
    change = {n: percent(after[n]) - percent(before[n][key]["test"]) for n in after if n != name}
    values = (percent(before[name][key]["test"]), percent(after[name]), -float(np.mean(list(change.values()))))
    return dict(zip(OTHER_PROMPTS, values, strict=True))


def class_entropy(labels: Sequence[int]) -> float:
    """Return the entropy of the class shares of images in nats: -sum_c p_c log p_c. It is log C for C classes of one size."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return float(stats.entropy(counts))


def change_rows(cell: Mapping[str, Any], before: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the change of test accuracy on each other domain, with the columns `CHANGE_COLUMNS`, in percent and points.

    Args:
        cell: record of the cell.
        before: record before training of each domain by name.
    """
    identity = cell["identity"]
    prompts = identity.get("prompts", "ensemble")
    named, rows = {key: identity[key] for key in ("domain", "tuning", "seed")}, []
    for other, counts in cell[AFTER_KEYS[prompts]]["test"].items():
        if other != identity["domain"]:
            was, now = percent(before[other][BEFORE_KEYS[prompts]]["test"]), percent(counts)
            rows.append({**named, "other": other, "n": counts[1], "before": was, "after": now, "change": now - was})
    return rows


def cell_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of cells as a table with the columns `COLUMNS`, then the measures, then `PROTOCOL_COLUMNS`."""
    table = pd.DataFrame(list(rows))
    measures = [column for column in table.columns if column not in (*COLUMNS, *PROTOCOL_COLUMNS)]
    return table.reindex(columns=[*COLUMNS, *measures, *PROTOCOL_COLUMNS])


def regressions(rows: pd.DataFrame, measures: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one line through the domains per model, tuning, outcome and measure, with the columns `REGRESSION_COLUMNS`.

    `loo_mae` and `loo_rmse` are the mean absolute and root mean squared error of leave-one-out prediction: the error on each
    domain of the line through all others. `loo_mae_of_mean` is the error of the others' mean outcome, the baseline of a
    useful measure. p is not corrected for the number of measures. An undefined line is NaN and has a `reason`.

    Args:
        rows: table of the cells.
        measures: names of the measures; None means all in the table.
    """
    lines = []
    keys = [*MODEL_COLUMNS, "tuning", "strategy"]
    for key, group in rows.groupby(keys, sort=False, dropna=False):
        for outcome in OUTCOMES:
            for measure in measure_columns(rows) if measures is None else measures:
                named = {**dict(zip(keys, key, strict=True)), "outcome": outcome, "measure": measure}
                lines.append({**named, **_line(means_by_domain(group, measure, outcome))})
    return pd.DataFrame(lines, columns=list(REGRESSION_COLUMNS))


def _line(points: pd.DataFrame) -> dict[str, Any]:
    x, y = points.x.to_numpy(float), points.y.to_numpy(float)
    cells: dict[str, Any] = {"n": len(points), "reason": ""}
    try:
        line = fit(x, y)
        cells.update(slope=line.slope, slope_low=line.low, slope_high=line.high, intercept=line.intercept, r2=line.r2, p=line.p)
        cells["kendall"], cells["kendall_p"], _ = kendall(x, y)
        errors = leave_one_out(x, y)
        cells.update(loo_mae=np.abs(errors).mean(), loo_rmse=np.sqrt((errors**2).mean()))
        cells["loo_mae_of_mean"] = np.abs(left_out_of_mean(y)).mean()
    except ValueError as error:
        cells["reason"] = str(error)
    return cells


def has_measures(before: Mapping[str, Any] | None, measures: Sequence[str]) -> bool:
    """Return whether a record before training holds all these measures."""
    return before is not None and all(name in before["measures"] for name in measures)


def _measure(before: Mapping[str, Any], name: str) -> float:
    """Return a measure from a record before training; NaN if it is undefined (null in the file)."""
    value = before["measures"][name]["value"]
    return math.nan if value is None else float(value)


def percent(cell: Sequence[int]) -> float:
    """Return [correct, n] as percent; NaN for n = 0."""
    correct, n = cell
    return 100 * correct / n if n else math.nan
