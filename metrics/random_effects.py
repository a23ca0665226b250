"""A linear model with random effects, fitted by restricted maximum likelihood (REML).

    y = X b + sum_k Z_k u_k + e        u_k ~ N(0, v_k I)        e ~ N(0, s^2 I)

With V = I + sum_k (v_k / s^2) Z_k Z_k', P = V^-1 - V^-1 X (X' V^-1 X)^-1 X' V^-1 and p columns of X, the criterion is

    log |V| + log |X' V^-1 X| + (n - p) log(y' P y)        s^2 = y' P y / (n - p)

(Patterson and Thompson 1971; the ratio v_k / s^2 is optimised as a square, as in lme4). A study has about a hundred values, so
the dense matrices cost milliseconds. statsmodels has the same estimator. It is not used, because its crossed effects need one
artificial group, its p are normal for four families, and fits with a variance of 0 warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.regression import LEVEL

Floats = NDArray[np.float64]
_STARTS = (0.3, 1.0, 3.0)


class Mixed(NamedTuple):
    """A fitted model.

    Attributes:
        coefficients: b [p].
        errors: standard errors of b [p].
        variances: v_k of the random effects.
        residual: s^2.
        criterion: minimum of the criterion.
        n: number of values.
    """

    coefficients: Floats
    errors: Floats
    variances: tuple[float, ...]
    residual: float
    criterion: float
    n: int


def reml(y: ArrayLike, fixed: ArrayLike, effects: Sequence[ArrayLike]) -> Mixed:
    """Fit a model with random effects.

    Args:
        y: values [n].
        fixed: X [n, p], with a column of ones for an intercept.
        effects: one Z_k [n, q_k] per random effect, such as the indicators of a grouping (`indicators`).

    Raises:
        ValueError: values that are not finite, n <= p, or X without full rank.
    """
    from scipy.optimize import minimize

    py, x = np.asarray(y, dtype=np.float64), np.asarray(fixed, dtype=np.float64)
    n, p = x.shape
    if py.shape != (n,) or not np.isfinite(py).all() or not np.isfinite(x).all():
        raise ValueError(f"expected finite values [n] and fixed effects [n, p], got shapes {py.shape} and {x.shape}")
    if n <= p or np.linalg.matrix_rank(x) < p:
        raise ValueError(f"{p} fixed effects need more than {p} values and must be linearly independent, got {n} values")
    products = [z @ z.T for z in (np.asarray(effect, dtype=np.float64) for effect in effects)]
    scale = float(py.std()) or 1.0
    scaled = py / scale

    def solve(roots: Floats) -> tuple[float, Floats, Floats, float]:
        v = np.eye(n) + sum((root**2 * product for root, product in zip(roots, products, strict=True)), np.zeros((n, n)))
        lower = np.linalg.cholesky(v)
        wx, wy = np.linalg.solve(lower, x), np.linalg.solve(lower, scaled)
        information = wx.T @ wx
        b = np.linalg.solve(information, wx.T @ wy)
        squares = max(float(((wy - wx @ b) ** 2).sum()), 1e-300)
        criterion = 2 * float(np.log(np.diag(lower)).sum()) + float(np.linalg.slogdet(information)[1])
        return criterion + (n - p) * float(np.log(squares)), b, information, squares

    best = np.zeros(len(products))
    for start in _STARTS if products else ():
        found = minimize(
            lambda roots: solve(roots)[0], np.full(len(products), start), method="L-BFGS-B", bounds=[(0, 1e3)] * len(products)
        )
        best = min((best, found.x), key=lambda roots: solve(roots)[0])
    criterion, b, information, squares = solve(best)
    residual = squares / (n - p)
    errors = np.sqrt(np.diag(np.linalg.inv(information)) * residual)
    variances = tuple(float(root**2 * residual * scale**2) for root in best)
    return Mixed(b * scale, errors * scale, variances, residual * scale**2, criterion, n)


def indicators(groups: ArrayLike) -> Floats:
    """Return the matrix [n, q] with a 1 where value i belongs to group j, in order of first appearance."""
    values = np.asarray(groups)
    _, first = np.unique(values, return_index=True)
    levels = values[np.sort(first)]
    matrix: Floats = (values[:, None] == levels[None]).astype(np.float64)
    return matrix


class Pooled(NamedTuple):
    """The mean slope over families: its standard error, interval and p with (families - 1) degrees of freedom.

    `family_sd` is the standard deviation of the slope between families, `task_sd` of the outcome between tasks that the measure
    does not explain, `residual_sd` of the rest.
    """

    slope: float
    error: float
    low: float
    high: float
    p: float
    family_sd: float
    task_sd: float
    residual_sd: float
    families: int
    n: int


def mean_slope(x: ArrayLike, y: ArrayLike, families: ArrayLike, tasks: ArrayLike, level: float = LEVEL) -> Pooled:
    """Fit y = a + b x + family + family slope x + task + e, with random effects of family and task (our choice).

    Args:
        x: measure [n], standardised within each family.
        y: outcome [n].
        families: family of each value [n].
        tasks: task of each value [n].
        level: level of the interval.

    Raises:
        ValueError: fewer than two families, or as `reml`.
    """
    from scipy import stats

    px, family = np.asarray(x, dtype=np.float64), indicators(families)
    count = family.shape[1]
    if count < 2:
        raise ValueError(f"a random effect of the family needs at least 2 families, got {count}")
    fitted = reml(y, np.column_stack([np.ones(len(px)), px]), [family, family * px[:, None], indicators(tasks)])
    slope, error = float(fitted.coefficients[1]), float(fitted.errors[1])
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    p = float(2 * stats.t.sf(abs(slope) / error, count - 1)) if error > 0 else 0.0
    _, family_slope, task = (variance**0.5 for variance in fitted.variances)
    return Pooled(slope, error, slope - half, slope + half, p, family_slope, task, fitted.residual**0.5, count, fitted.n)
