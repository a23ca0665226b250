"""Straight lines through a handful of tasks: what a measure before training says of the outcome after it.

Least squares y = a + b x over n tasks, with x-bar and y-bar the means and S = sum (x - x-bar)^2:

    b = sum (x - x-bar)(y - y-bar) / S        a = y-bar - b x-bar        s^2 = sum (y - a - b x)^2 / (n - 2)
    slope        b plus or minus t s / sqrt(S)
    mean of y    a + b x plus or minus t s sqrt(1/n + (x - x-bar)^2 / S)
    a new task   a + b x plus or minus t s sqrt(1 + 1/n + (x - x-bar)^2 / S)

with t Student's quantile for n - 2 degrees of freedom. IIMM's paper (Niss et al., 2407.15731) reports R2, p and Kendall's tau
of such lines; intervals and errors of tasks that are left out are our choice. All of it takes tasks for independent and
scatter for even; with ten tasks it is a rough guide.

Nothing is dropped and no number stands for one that is undefined: NaN among the values, fewer than three tasks or values of x
that are all the same are ValueErrors that say so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
FEWEST = 3
# Beyond this share of the values' own size a spread is rounding.
_ROUNDING = 1e-9


class Line(NamedTuple):
    """The least-squares line through n tasks.

    `p` is two-sided, of no slope; `low` and `high` are the ends of the slope's interval at `level`. Where all y are equal the
    line is flat and `r2` and `p` are NaN. `residual` is s, `x_squares` is S; `x_low` and `x_high` are the range of x that was
    seen, beyond which the line is a guess.
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
        """Whether x lies among the values that the line was fitted on."""
        return self.x_low <= x <= self.x_high


class Prediction(NamedTuple):
    """The line's value at x, and the interval in which a new task's y is expected (not the mean's, which is narrower)."""

    value: float
    low: float
    high: float


class Rank(NamedTuple):
    """Kendall's tau-b of n tasks and its two-sided p (exact where there are no ties and n is small)."""

    tau: float
    p: float
    n: int


def fit(x: ArrayLike, y: ArrayLike, level: float = LEVEL) -> Line:
    """The line through (x, y), both [n]. Raises ValueError for n < 3, constant x, NaN or infinite values."""
    from scipy import stats

    px, py = _pairs(x, y)
    if not 0 < level < 1:
        raise ValueError(f"the confidence level must lie between 0 and 1, got {level}")
    if _constant(px):
        raise ValueError(f"all {len(px)} values of x are {px[0]:g}: no line goes through them")
    n, flat = len(px), _constant(py)
    dx, dy = px - px.mean(), np.zeros_like(py) if flat else py - py.mean()
    squares, total = float(dx @ dx), float(dy @ dy)
    slope = float(dx @ dy) / squares
    rest = float(((dy - slope * dx) ** 2).sum())
    residual = (rest / (n - 2)) ** 0.5
    error = residual / squares**0.5
    # Through all points: no scatter that could have made the slope.
    p = np.nan if flat else 0.0 if error == 0 else float(2 * stats.t.sf(abs(slope) / error, n - 2))
    half = _quantile(level, n) * error
    return Line(
        slope=slope,
        intercept=float(py.mean()) - slope * float(px.mean()),
        r2=np.nan if flat else 1 - rest / total,
        p=p,
        low=slope - half,
        high=slope + half,
        n=n,
        x_mean=float(px.mean()),
        x_squares=squares,
        residual=residual,
        x_low=float(px.min()),
        x_high=float(px.max()),
        level=level,
    )


def predict(line: Line, x: float) -> Prediction:
    """What the line expects of a new task at x. Raises ValueError for an x that is no number.

    A line says nothing of whether x is like what it was fitted on: ask `line.covers(x)`.
    """
    if not np.isfinite(x):
        raise ValueError(f"nothing can be predicted at x = {x}")
    value = line.intercept + line.slope * x
    spread = 1 + 1 / line.n + (x - line.x_mean) ** 2 / line.x_squares
    half = _quantile(line.level, line.n) * line.residual * spread**0.5
    return Prediction(float(value), float(value - half), float(value + half))


def band(line: Line, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The line at x, and the ends of the interval of the mean of y there (not of a new task's y, which is wider): [n] each."""
    at = np.asarray(x, dtype=np.float64)
    y = line.intercept + line.slope * at
    half = _quantile(line.level, line.n) * line.residual * np.sqrt(1 / line.n + (at - line.x_mean) ** 2 / line.x_squares)
    return y, y - half, y + half


def leave_one_out(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """y_i less its prediction by the line through all others, [n].

    Raises ValueError for n < 4 (a line needs three others), when the others have one x, and as `fit`.
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
    """y_i less the mean of all others, [n]: what a line has to beat. Raises ValueError for n < 2."""
    py = np.asarray(y, dtype=np.float64)
    if len(py) < 2:
        raise ValueError(f"leaving one out needs at least 2 tasks, got {len(py)}")
    return (py - py.mean()) * len(py) / (len(py) - 1)


def kendall(x: ArrayLike, y: ArrayLike) -> Rank:
    """Kendall's tau-b of (x, y), both [n]. Raises ValueError for n < 3, constant x or y, NaN or infinite values."""
    from scipy import stats

    px, py = _pairs(x, y)
    for name, values in (("x", px), ("y", py)):
        if (values == values[0]).all():
            raise ValueError(f"all {len(values)} values of {name} are {values[0]:g}: they have no order")
    found = stats.kendalltau(px, py)
    return Rank(float(found.statistic), float(found.pvalue), len(px))


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if px.ndim != 1 or px.shape != py.shape:
        raise ValueError(f"x and y must be of one length, got {px.shape} and {py.shape}")
    if len(px) < FEWEST:
        raise ValueError(f"a line needs at least {FEWEST} tasks, got {len(px)}")
    if bad := int((~np.isfinite(px) | ~np.isfinite(py)).sum()):
        raise ValueError(f"{bad} of {len(px)} tasks have NaN or infinity for x or y")
    return px, py


def _constant(values: NDArray[np.float64]) -> bool:
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _quantile(level: float, n: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, n - 2))
