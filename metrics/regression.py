"""Least-squares lines through a handful of tasks: predict an outcome of training from a measure taken before it.

Least squares y = a + b x over n tasks, with x-bar and y-bar the means and S = sum (x - x-bar)^2:

    b = sum (x - x-bar)(y - y-bar) / S        a = y-bar - b x-bar        s^2 = sum (y - a - b x)^2 / (n - 2)
    slope        b plus or minus t s / sqrt(S)
    mean of y    a + b x plus or minus t s sqrt(1/n + (x - x-bar)^2 / S)
    a new task   a + b x plus or minus t s sqrt(1 + 1/n + (x - x-bar)^2 / S)

with t Student's quantile for n - 2 degrees of freedom. IIMM's paper (Niss et al., 2407.15731) reports R2, p and Kendall's
tau of such lines. Intervals and leave-one-out errors are our choice. All formulas assume independent tasks with the same
variance. With ten tasks they are a rough guide.

Nothing is dropped and undefined values are not replaced. NaN among the values, fewer than three tasks, or equal values of x
raise a ValueError.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
FEWEST = 3
# A spread below this share of the largest absolute value is rounding.
_ROUNDING = 1e-9


class Line(NamedTuple):
    """The least-squares line through n tasks.

    `p` is two-sided, for the hypothesis of a zero slope. `low` and `high` are the ends of the slope's interval at `level`. If
    all y are equal the line is flat, and `r2` and `p` are NaN. `residual` is s, and `x_squares` is S. `x_low` and `x_high` are
    the range of the fitted x. The line is a guess outside of it.
    """

    slope: float
    intercept: float
    r2: float
    p: float
    low: float
    high: float
    n: int
    x_mean: float
    x_squares: float
    residual: float
    x_low: float
    x_high: float
    level: float = LEVEL

    def covers(self, x: float) -> bool:
        """Return whether x is within the range of the values that the line was fitted on."""
        return self.x_low <= x <= self.x_high


class Prediction(NamedTuple):
    """The line's value at x, and the interval in which a new task's y is expected. The interval of the mean is narrower."""

    value: float
    low: float
    high: float


class Rank(NamedTuple):
    """Kendall's tau-b of n tasks and its two-sided p, which is exact without ties and for small n."""

    tau: float
    p: float
    n: int


def fit(x: ArrayLike, y: ArrayLike, level: float = LEVEL) -> Line:
    """Fit the line through (x, y).

    Args:
        x: values [n].
        y: values [n].
        level: confidence level in (0, 1).

    Raises:
        ValueError: n < 3, x is constant, or values are NaN or infinite.
    """
    from scipy import stats

    px, py = _pairs(x, y)
    if not 0 < level < 1:
        raise ValueError(f"the confidence level must be between 0 and 1, got {level}")
    if _constant(px):
        raise ValueError(f"all {len(px)} values of x are {px[0]:g}, so the slope of a line is undefined")
    n, flat = len(px), _constant(py)
    dx, dy = px - px.mean(), np.zeros_like(py) if flat else py - py.mean()
    squares, total = float(dx @ dx), float(dy @ dy)
    slope = float(dx @ dy) / squares
    unexplained = float(((dy - slope * dx) ** 2).sum())
    residual = (unexplained / (n - 2)) ** 0.5
    error = residual / squares**0.5
    # The line goes through all points, so there is no scatter that could have made the slope.
    p = np.nan if flat else 0.0 if error == 0 else float(2 * stats.t.sf(abs(slope) / error, n - 2))
    half_width = _quantile(level, n) * error
    return Line(
        slope=slope,
        intercept=float(py.mean()) - slope * float(px.mean()),
        r2=np.nan if flat else 1 - unexplained / total,
        p=p,
        low=slope - half_width,
        high=slope + half_width,
        n=n,
        x_mean=float(px.mean()),
        x_squares=squares,
        residual=residual,
        x_low=float(px.min()),
        x_high=float(px.max()),
        level=level,
    )


def predict(line: Line, x: float) -> Prediction:
    """Predict a new task at x.

    The prediction does not depend on whether x is within the fitted range; `line.covers(x)` tells.

    Raises:
        ValueError: x is not finite.
    """
    if not np.isfinite(x):
        raise ValueError(f"nothing can be predicted at x = {x}")
    value = line.intercept + line.slope * x
    spread = 1 + 1 / line.n + (x - line.x_mean) ** 2 / line.x_squares
    half_width = _quantile(line.level, line.n) * line.residual * spread**0.5
    return Prediction(float(value), float(value - half_width), float(value + half_width))


def band(line: Line, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the line at x and the ends of the interval of the mean of y there: three arrays [n].

    The interval of a new task's y is wider (`predict`).
    """
    points = np.asarray(x, dtype=np.float64)
    y = line.intercept + line.slope * points
    half_width = (
        _quantile(line.level, line.n) * line.residual * np.sqrt(1 / line.n + (points - line.x_mean) ** 2 / line.x_squares)
    )
    return y, y - half_width, y + half_width


def leave_one_out(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return the errors [n]: y_i minus its prediction by the line through all other tasks.

    Raises:
        ValueError: n < 4 (a line needs three other tasks), the others have a single x, or as `fit`.
    """
    px, py = _pairs(x, y)
    if len(px) <= FEWEST:
        raise ValueError(f"leaving one out needs at least {FEWEST + 1} tasks, got {len(px)}")
    errors = np.empty(len(px))
    for i in range(len(px)):
        try:
            line = fit(np.delete(px, i), np.delete(py, i))
        except ValueError as error:
            raise ValueError(f"without task {i + 1} of {len(px)}, {error}") from error
        errors[i] = py[i] - predict(line, px[i]).value
    return errors


def left_out_of_mean(y: ArrayLike) -> NDArray[np.float64]:
    """Return y_i minus the mean of all others [n], the error that a line has to beat. Raises ValueError for n < 2."""
    py = np.asarray(y, dtype=np.float64)
    if len(py) < 2:
        raise ValueError(f"leaving one out needs at least 2 tasks, got {len(py)}")
    errors: NDArray[np.float64] = (py - py.mean()) * len(py) / (len(py) - 1)
    return errors


def kendall(x: ArrayLike, y: ArrayLike) -> Rank:
    """Return Kendall's tau-b of x and y [n]. Raises ValueError for n < 3, constant x or y, NaN or infinite values."""
    from scipy import stats

    px, py = _pairs(x, y)
    check_order(px, py)
    result = stats.kendalltau(px, py)
    return Rank(float(result.statistic), float(result.pvalue), len(px))


def check_order(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Raise ValueError if all values of x or of y are equal."""
    for name, values in (("x", x), ("y", y)):
        if (values == values[0]).all():
            raise ValueError(f"all {len(values)} values of {name} are {values[0]:g}, so they have no order")


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y in float64. Raises ValueError unless both are [n], n >= 3, and finite."""
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if px.ndim != 1 or px.shape != py.shape:
        raise ValueError(f"x and y must both be [n], got shapes {px.shape} and {py.shape}")
    if len(px) < FEWEST:
        raise ValueError(f"a line needs at least {FEWEST} tasks, got {len(px)}")
    if bad := int((~np.isfinite(px) | ~np.isfinite(py)).sum()):
        raise ValueError(f"{bad} of {len(px)} tasks have NaN or infinity in x or y")
    return px, py


def _constant(values: NDArray[np.float64]) -> bool:
    """Return whether values are equal up to rounding."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _quantile(level: float, n: int) -> float:
    """Return Student's quantile of a two-sided interval with n - 2 degrees of freedom."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, n - 2))
