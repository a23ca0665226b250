"""The quality of a line through a handful of tasks: intervals of R2 and Kendall's tau, left-out R2, and influential tasks.

    R2        Fisher's z of the correlation r: tanh(atanh r plus or minus q / sqrt(n - 3))
    tau       tanh(atanh tau plus or minus q sqrt(0.437 / (n - 4)))         (Fieller, Hartley and Pearson 1957)
    left out  1 - sum of squared leave-one-out errors of the line / those of the mean of the others
    Cook      D_i = e_i^2 h_i / (2 s^2 (1 - h_i)^2), h_i = 1/n + (x_i - x-bar)^2 / S         (Cook 1977)

with q the normal quantile of the level. Signed R2 is r |r|, so that a falling line has a negative value. Intervals treat
tasks as independent draws from a normal distribution.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.multiple_regression import leave_one_out
from metrics.regression import LEVEL, fit, left_out_of_mean

FEWEST = 5
EXTREMES = 2


class Interval(NamedTuple):
    """A value with the ends of its interval, NaN if n is too small for one."""

    value: float
    low: float
    high: float


def signed_r2(x: ArrayLike, y: ArrayLike, level: float = LEVEL) -> Interval:
    """Return r |r| of x and y [n] with its interval, which needs n >= 4. Raises ValueError as `metrics.regression.fit`."""
    line = fit(x, y)
    r = math.copysign(math.sqrt(line.r2), line.slope) if line.r2 == line.r2 else math.nan
    r, low, high = fisher(r, 1 / math.sqrt(line.n - 3) if line.n > 3 else math.nan, level)
    return Interval(r * abs(r), low * abs(low), high * abs(high))


def kendall_interval(tau: float, n: int, level: float = LEVEL) -> Interval:
    """Return Kendall's tau of n tasks with its interval, which needs n >= 5."""
    return fisher(tau, math.sqrt(0.437 / (n - 4)) if n >= FEWEST else math.nan, level)


def fisher(value: float, standard_error: float, level: float = LEVEL) -> Interval:
    """Return a correlation with the interval tanh(atanh value plus or minus quantile * standard error).

    A correlation of 1 or -1 has an interval of length 0. Raises ValueError for a value outside of [-1, 1].
    """
    from scipy.special import ndtri

    if abs(value) > 1 + 1e-9:
        raise ValueError(f"a correlation is in [-1, 1], got {value}")
    if abs(value) >= 1 and standard_error == standard_error:
        return Interval(value, value, value)
    half = float(ndtri((1 + level) / 2)) * standard_error
    centre = math.atanh(value) if abs(value) < 1 else math.nan
    return Interval(value, math.tanh(centre - half), math.tanh(centre + half))


def left_out_r2(x: ArrayLike, y: ArrayLike) -> float:
    """Return R2 on left-out tasks. It is at most 1, and below 0 for a line that is worse than the mean of the other tasks.

    NaN if all y are equal. Raises ValueError as `metrics.multiple_regression.leave_one_out`.
    """
    return explained(leave_one_out(np.asarray(x, dtype=np.float64)[:, None], y), left_out_of_mean(y))


def explained(errors: ArrayLike, errors_of_mean: ArrayLike) -> float:
    """Return 1 - sum of squared errors / sum of squared errors of the mean; NaN if the latter is 0."""
    total = float((np.asarray(errors_of_mean, dtype=np.float64) ** 2).sum())
    return 1 - float((np.asarray(errors, dtype=np.float64) ** 2).sum()) / total if total > 0 else math.nan


def cooks_distance(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return how far each of n tasks moves the line [n]; inf if the other tasks have no slope.

    Raises ValueError as `metrics.regression.fit`.
    """
    line = fit(x, y)
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    errors = py - line.intercept - line.slope * px
    leverage = 1 / line.n + (px - line.x_mean) ** 2 / line.x_squares
    decides = leverage > 1 - 1e-9
    scale = 2 * line.residual**2 * np.where(decides, 1, 1 - leverage) ** 2
    distances: NDArray[np.float64] = np.where(decides, np.inf, errors**2 * leverage / np.where(scale > 0, scale, 1))
    return distances


def most_influential(x: ArrayLike, y: ArrayLike, count: int = EXTREMES) -> NDArray[np.int64]:
    """Return the positions of the tasks with the largest Cook's distances, largest first."""
    order: NDArray[np.int64] = np.argsort(-cooks_distance(x, y), kind="stable")[:count]
    return order
