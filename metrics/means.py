"""Means with intervals, and lines, of numbers of which some are missing. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from metrics import regression


class Mean(NamedTuple):
    """Mean, sample standard deviation and 95 % confidence interval of n values. For n = 1 only the mean is a number."""

    mean: float
    sd: float
    low: float
    high: float
    n: int

    def signed(self) -> str:
        """Return a mean in points as text with its sign, and its interval if there is one: "+3.2 [+1.0, +5.4]"."""
        interval = f" [{self.low:+z.1f}, {self.high:+z.1f}]" if self.n > 1 else ""
        return f"{self.mean:+z.1f}{interval}"


def mean(values: Sequence[float]) -> Mean:
    """Return the mean with Student's t interval, mean ± t_{n-1} s / sqrt(n). NaN values are ignored.

    Args:
        values: values; without any number, all results are NaN.
    """
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
    """Fit a line (`metrics.regression.fit`) through the points with both coordinates.

    Args:
        x: x coordinates; NaN if missing.
        y: y coordinates; NaN if missing.

    Returns:
        The line, or None for fewer than three points or if all x are equal.
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a == a and b == b]
    try:
        return regression.fit([a for a, _ in pairs], [b for _, b in pairs])
    except ValueError:
        return None
