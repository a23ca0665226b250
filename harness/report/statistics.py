"""Means with intervals, and straight lines with theirs: pure functions on a handful of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95


class Mean(NamedTuple):
    """Mean, sample standard deviation and confidence interval of n values; all but the mean are NaN for n = 1."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


class Line(NamedTuple):
    """The least-squares line y = intercept + slope x through n points: the slope's confidence interval, and r squared."""

    slope: float
    low: float
    high: float
    intercept: float
    r2: float
    n: int
    x_mean: float
    x_squares: float
    residual: float

    def band(self, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The line at x, and the confidence interval of the mean of y there: line, low, high."""
        x = np.asarray(x, dtype=float)
        y = self.intercept + self.slope * x
        half = _t(self.n - 2) * self.residual * np.sqrt(1 / self.n + (x - self.x_mean) ** 2 / self.x_squares)
        return y, y - half, y + half


def mean(values: Sequence[float]) -> Mean:
    """Of the values that are numbers: Student's t interval mean ± t_{n-1} s / sqrt(n). All NaN without any."""
    v = np.array([value for value in values if value == value], dtype=float)
    if len(v) == 0:
        return Mean(np.nan, np.nan, np.nan, np.nan, 0)
    centre = float(v.mean())
    if len(v) == 1:
        return Mean(centre, np.nan, np.nan, np.nan, 1)
    sd = float(v.std(ddof=1))
    half = _t(len(v) - 1) * sd / len(v) ** 0.5
    return Mean(centre, sd, centre - half, centre + half, len(v))


def fit(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """Least squares: slope b = sum (x - mean x)(y - mean y) / S, S = sum (x - mean x)^2.

    Its interval is b ± t_{n-2} s / sqrt(S), s^2 = residual sum of squares / (n - 2).

    Points with a missing coordinate are left out. None for fewer than three points or where all x are equal. r squared is
    NaN where all y are equal.
    """
    pairs = np.array([(a, b) for a, b in zip(x, y, strict=True) if a == a and b == b], dtype=float).reshape(-1, 2)
    n = len(pairs)
    if n < 3:
        return None
    px, py = pairs.T
    dx, dy = px - px.mean(), py - py.mean()
    squares = float(dx @ dx)
    if squares <= 1e-18 * max(1.0, float(px @ px)):
        return None
    slope = float(dx @ dy) / squares
    rest = float(((dy - slope * dx) ** 2).sum())
    residual = (rest / (n - 2)) ** 0.5
    half = _t(n - 2) * residual / squares**0.5
    total = float(dy @ dy)
    r2 = 1 - rest / total if total > 0 else float("nan")
    return Line(
        slope, slope - half, slope + half, float(py.mean() - slope * px.mean()), r2, n, float(px.mean()), squares, residual
    )


def _t(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, freedom))
