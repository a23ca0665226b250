"""Published results, for checks and for the leaderboard's rows of papers.

`tables/zscl_mtil.csv` has the accuracy matrices that the authors of ZSCL (2303.06628) released with their code (MIT): both
orders, seven methods, one row per trained task, one column per test set, in percent. Rows and columns of the file are in
alphabetical order of the datasets, and `matrix` returns them in the order of the stream. One seed each, ViT-B/16. `ZERO_SHOT`
is its zero-shot row, one decimal.

`tables/cil.csv` has class-incremental Avg and Last that were confirmed outside the papers' text: ZSCL's Last on CIFAR-100 in
10 and 50 steps, and the values that MoE-Adapters (JiazuoYu/MoE-Adapters4CL) released with its code.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference_data.mtil import ORDERS

# The methods in `tables/zscl_mtil.csv`.
METHODS = ("finetune", "lwf", "icarl", "lwf-vr", "wise-ft", "zscl-star", "zscl")
ZERO_SHOT = dict(zip(ORDERS["I"], (24.3, 88.4, 68.2, 44.6, 54.9, 71.0, 88.5, 59.4, 89.0, 64.7, 65.2), strict=True))
SOURCE = "ZSCL (2303.06628)"


def matrix(order: str, strategy: str) -> NDArray[np.float64]:
    """Return the accuracy matrix of a published run.

    Args:
        order: "I" or "II".
        strategy: a name in `METHODS`.

    Returns:
        R [11, 11] in percent: R[j, i] is the accuracy on task i after training task j, both in the order of the stream.

    Raises:
        KeyError: for an order or strategy that was not published.

    Example:
        >>> matrix("I", "zscl").shape
        (11, 11)
    """
    cells = _tables()[order, strategy]
    return np.array([[cells[after, task] for task in ORDERS[order]] for after in ORDERS[order]])


def zero_shot_matrix(order: str) -> NDArray[np.float64]:
    """Return R [11, 11] of a model that never changes: the published zero-shot row in every row."""
    return np.tile([ZERO_SHOT[task] for task in ORDERS[order]], (len(ORDERS[order]), 1))


def class_incremental() -> list[dict[str, str]]:
    """Return the rows of `tables/cil.csv`: benchmark, strategy, average and last (percent, "" if unknown), source."""
    path = Path(__file__).parent / "tables" / "cil.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def other_papers() -> list[dict[str, str]]:
    """Return the rows of `tables/published.csv`, "" for unknown values.

    Columns: benchmark, order, strategy, kind, model, pretrained, protocol, shots, template, transfer, average, last,
    reported_average, reported_last (percent), variant, source.
    """
    path = Path(__file__).parent / "tables" / "published.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def _tables() -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    tables: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    path = Path(__file__).parent / "tables" / "zscl_mtil.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            cells = tables.setdefault((line["order"], line["strategy"]), {})
            for task in ORDERS["I"]:
                cells[line["after"], task] = float(line[task])
    return tables
