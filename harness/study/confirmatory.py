"""The confirmatory lines of the plan (docs/study_plan.md): an outcome over IIMM, per family and tuning, with a verdict.

    supported    slope above 0 with its 95 % interval, Holm's p and the p of the permutation maximum below 0.05
    reversed     the same below 0
    not shown    otherwise

Both corrections are over all lines of an outcome, that is over families and tunings. A supported line is useful if it predicts
left-out domains better than the mean of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.study.forecast import PREDICTED
from harness.study.predictors import groups
from metrics.line_quality import kendall_interval, left_out_r2, most_influential, signed_r2
from metrics.multiplicity import SHUFFLES, holm, permutation_maximum
from metrics.regression import fit, kendall
from metrics.study_table import task_means

IIMM, LEVEL = "iimm", 0.05
EXPLORATORY_MODELS = ("tiny-cone",)
"""Models that are not one of the four families of the plan."""
FAMILIES = 4
SUPPORTED, REVERSED, NOT_SHOWN, UNDEFINED = "supported", "reversed", "not shown", "undefined"
LINE = (
    *("n", "slope", "low", "high", "r2", "r2_low", "r2_high", "p", "tau", "tau_low", "tau_high", "left_out_r2"),
    *("r2_without_extremes", "extremes", "reason"),
)
KEYS = ("model", "tuning", "outcome", "measure")
COLUMNS = (*KEYS, *LINE, "p_holm", "p_maximum", "verdict", "useful")


def of_families(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table without those of `EXPLORATORY_MODELS`."""
    return rows[~rows.model.isin(EXPLORATORY_MODELS)]


def line_cells(points: pd.DataFrame, measure: str, outcome: str) -> dict[str, Any]:
    """Return the numbers of one line (`LINE`). Numbers that are undefined are NaN, with a `reason`.

    The slope and its interval are per standard deviation of the measure between domains. R2 has the sign of the slope.
    `extremes` are the two domains with the largest Cook's distances.

    Args:
        points: one row per domain (`metrics.study_table.task_means`).
        measure: column of the predictor.
        outcome: column of the outcome.
    """
    known = points[[measure, outcome]].dropna()
    x, y = known[measure].to_numpy(float), known[outcome].to_numpy(float)
    cells: dict[str, Any] = {**dict.fromkeys(LINE, math.nan), "n": len(known), "extremes": "", "reason": ""}
    try:
        line, spread = fit(x, y), float(x.std(ddof=1))
        cells.update(slope=line.slope * spread, low=line.low * spread, high=line.high * spread, p=line.p)
        cells["r2"], cells["r2_low"], cells["r2_high"] = signed_r2(x, y)
        cells["tau"], cells["tau_low"], cells["tau_high"] = kendall_interval(kendall(x, y).tau, line.n)
        cells["left_out_r2"] = left_out_r2(x, y)
        extremes = most_influential(x, y)
        cells["extremes"] = ", ".join(map(str, known.index[extremes]))
        cells["r2_without_extremes"] = signed_r2(np.delete(x, extremes), np.delete(y, extremes)).value
    except ValueError as error:
        cells["reason"] = str(error)
    return cells


def line_table(rows: pd.DataFrame, measures: Sequence[str], outcomes: Iterable[str] = PREDICTED) -> pd.DataFrame:
    """Return one line per model, tuning, outcome and measure, with the columns `KEYS` and `LINE`.

    Args:
        rows: table of one or several studies.
        measures: columns of the predictors.
        outcomes: columns of the outcomes.
    """
    outcomes = tuple(outcomes)
    lines = []
    for model, tuning, group in groups(rows):
        points = task_means(group, (*measures, *outcomes))
        for outcome in outcomes:
            for measure in measures:
                lines.append((model, tuning, outcome, measure, *line_cells(points, measure, outcome).values()))
    return pd.DataFrame(lines, columns=[*KEYS, *LINE])


def confirmatory(rows: pd.DataFrame, shuffles: int = SHUFFLES, seed: int = 0) -> pd.DataFrame:
    """Return the confirmatory lines with corrected p and verdicts, with the columns `COLUMNS`.

    Args:
        rows: table of one or several studies. Only those of the families count (`of_families`).
        shuffles: number of random permutations.
        seed: seed of the permutations.
    """
    rows = of_families(rows)
    lines = line_table(rows, [IIMM]).assign(p_holm=math.nan, p_maximum=math.nan)
    for outcome, group in lines.groupby("outcome", sort=False):
        lines.loc[group.index, "p_holm"] = holm(group.p)
        blocks = outcome_blocks(rows, [IIMM], [str(outcome)])
        maxima = permutation_maximum([block for _, _, block in blocks], shuffles, seed)
        for (model, columns, _), p in zip(blocks, maxima, strict=True):
            for (tuning, _), value in zip(columns, p[0], strict=True):
                lines.loc[group.index[(group.model == model) & (group.tuning == tuning)], "p_maximum"] = value
    verdicts = [verdict(r.low, r.high, r.p_holm, r.p_maximum) for r in lines.itertuples()]
    lines["verdict"] = verdicts
    lines["useful"] = [name == SUPPORTED and r2 > 0 for name, r2 in zip(verdicts, lines.left_out_r2, strict=True)]
    return lines[list(COLUMNS)]


Block = tuple[str, list[tuple[str, str]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""A model, its columns (tuning, outcome), and its measures [n, m] and outcomes [n, k] over all domains of the table."""


def outcome_blocks(rows: pd.DataFrame, measures: Sequence[str], outcomes: Sequence[str]) -> list[Block]:
    """Return one block per model for `permutation_maximum`, all over the same domains. Missing values are NaN."""
    domains = list(dict.fromkeys(rows.domain))
    blocks: list[Block] = []
    for model, of_model in rows.groupby("model", sort=False):
        x = task_means(of_model, measures).reindex(domains)
        columns, values = [], []
        for _, tuning, group in groups(of_model):
            means = task_means(group, outcomes).reindex(domains)
            columns += [(tuning, outcome) for outcome in outcomes]
            values.append(means[list(outcomes)].to_numpy(float))
        blocks.append((str(model), columns, (x[list(measures)].to_numpy(float), np.concatenate(values, axis=1))))
    return blocks


def verdict(low: float, high: float, p_holm: float, p_maximum: float) -> str:
    """Return the verdict on a line from the interval of its slope and both corrected p."""
    if any(math.isnan(value) for value in (low, high, p_holm, p_maximum)):
        return UNDEFINED
    if p_holm >= LEVEL or p_maximum >= LEVEL or low <= 0 <= high:
        return NOT_SHOWN
    return SUPPORTED if low > 0 else REVERSED


def overall(lines: pd.DataFrame, tuning: str = "full") -> pd.DataFrame:
    """Return one row per outcome: the numbers of supported and reversed lines, and the verdict on the paper's claim.

    The claim is confirmed if the tuning is supported in all of at least four families, partly confirmed if it is supported in
    at least one and reversed in none, and not confirmed otherwise.

    Args:
        lines: result of `confirmatory`.
        tuning: the tuning that the claim is about.
    """
    cells = []
    for outcome, group in lines.groupby("outcome", sort=False):
        of_tuning = group[group.tuning == tuning]
        supported, reverse = ((of_tuning.verdict == name).sum() for name in (SUPPORTED, REVERSED))
        if supported == len(of_tuning) >= FAMILIES:
            claim = "confirmed"
        elif supported and not reverse:
            claim = "partly confirmed"
        else:
            claim = "not confirmed"
        counts = ((group.verdict == name).sum() for name in (SUPPORTED, REVERSED))
        cells.append((outcome, len(group), *counts, int(group.useful.sum()), len(of_tuning), supported, claim))
    heads = [
        "outcome",
        "lines",
        SUPPORTED,
        REVERSED,
        "useful",
        f"families with {tuning}",
        f"{SUPPORTED} with {tuning}",
        "claim",
    ]
    return pd.DataFrame(cells, columns=heads)
