"""Rows of generalisation.csv and the tables of its page (`tools.case_tables` writes the file, `tools.pages` the tables).

A row is a mean over domains of a change of accuracy in points (`predictor` is empty), or a rank correlation of a predictor
with an outcome over domains. Both have 95 % intervals over domains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.records.generalisation import (
    DIFFERENCE,
    OUTCOMES,
    PREDICTED,
    PREDICTORS,
    applies,
    outcomes,
    over_domains,
    predictors,
)
from harness.records.runs import Run

COLUMNS = ("strategy", "outcome", "predictor", "value", "low", "high", "domains", "seeds")
MAIN = "finetune"
"""The method whose correlations the page shows."""


def generalisation_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the rows of the finished runs of `generalisation`, by strategy."""
    chosen = [run for run in runs if run.finished and run.identity["benchmark"] == "generalisation" and applies(run)]
    rows = []
    for strategy in dict.fromkeys(run.identity["strategy"] for run in chosen):
        of_strategy = outcomes([run for run in chosen if run.identity["strategy"] == strategy])
        seeds = of_strategy[0].seeds
        for name, value in over_domains(of_strategy).items():
            rows.append(_row(strategy, name, "", 1, value.mean, value.low, value.high, value.n, seeds))
        for p in predictors(of_strategy):
            rows.append(_row(strategy, p.outcome, p.predictor, 2, *p.rho[:3], p.rho.n, seeds))
    return rows


def _row(
    strategy: str, outcome: str, predictor: str, digits: int, value: float, low: float, high: float, domains: int, seeds: int
) -> dict[str, Any]:
    numbers = {"value": value, "low": low, "high": high}
    shown = {name: "" if x != x else f"{x:z.{digits}f}" for name, x in numbers.items()}
    return {"strategy": strategy, "outcome": outcome, "predictor": predictor, **shown, "domains": domains, "seeds": seeds}


def gains_table(rows: Sequence[Mapping[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the page's table of changes, one row per strategy."""
    means = {(row["strategy"], row["outcome"]): row for row in rows if not row["predictor"]}
    strategies = list(dict.fromkeys(strategy for strategy, _ in means))
    body = [
        [f"`{strategy}`", means[strategy, "gain"]["seeds"], *(_interval(means[strategy, name]) for name in OUTCOMES)]
        for strategy in strategies
    ]
    return ["strategy", "seeds", *OUTCOMES.values()], body


def difficulty_table(rows: Sequence[Mapping[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the page's table of rank correlations of full fine-tuning, one row per outcome."""
    cells = {(row["outcome"], row["predictor"]): row for row in rows if row["strategy"] == MAIN and row["predictor"]}
    names = (*PREDICTORS, DIFFERENCE)
    body = [
        [outcome.replace("_", " "), *(_interval(cells[outcome, name]) for name in names)]
        for outcome in PREDICTED
        if (outcome, names[0]) in cells
    ]
    return ["outcome", *(f"`{name}`" for name in PREDICTORS), "difference"], body


def _interval(row: Mapping[str, str]) -> str:
    value, low, high = (f"{float(row[name]):+z.{2 if row['predictor'] else 1}f}" if row[name] else "" for name in COLUMNS[3:6])
    return f"{value} ({low} to {high})" if low else value
