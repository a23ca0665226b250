"""Means with intervals, and lines through what a report has: pure functions on a handful of numbers, some of them missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from metrics import regression


class Mean(NamedTuple):
    """Mean, sample standard deviation and confidence interval of n values; all but the mean are NaN for n = 1."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float]) -> Mean:
    """Of the values that are numbers: Student's t interval mean ± t_{n-1} s / sqrt(n). All NaN without any."""
    known = [float(value) for value in values if value == value]
    if len(known) < 2:
        return Mean(known[0] if known else np.nan, np.nan, np.nan, np.nan, len(known))
    v = np.array(known)
    centre = float(v.mean())
    sd = float(v.std(ddof=1))
    half = _quantile(len(v) - 1) * sd / len(v) ** 0.5
    return Mean(centre, sd, centre - half, centre + half, len(v))


@cache
def _quantile(degrees: int) -> float:
    return float(stats.t.ppf((1 + regression.LEVEL) / 2, degrees))


def fit(x: Sequence[float], y: Sequence[float]) -> regression.Line | None:
    """The line (`metrics.regression.fit`) through the points that have both coordinates.

    None for fewer than three of them or where all x are equal.
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a == a and b == b]
    try:
        return regression.fit([a for a, _ in pairs], [b for _, b in pairs])
    except ValueError:
        return None
