"""Least squares over several predictors of a task: intervals, partial tests and leave-one-out errors.

With Z = [1, X] of n tasks and k predictors, H = Z (Z'Z)^-1 Z', e = y - H y and s^2 = e'e / (n - k - 1):

    coefficients    b = (Z'Z)^-1 Z'y          standard errors   s sqrt(diag (Z'Z)^-1)
    a new task      z'b plus or minus t s sqrt(1 + z'(Z'Z)^-1 z)
    leave-one-out   e_i / (1 - H_ii), exact without fitting again

with t Student's quantile for n - k - 1 degrees of freedom. k = 0 is the mean. k = 1 is the line of `metrics.regression`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.regression import LEVEL, Prediction

Floats = NDArray[np.float64]
_DEPENDENT = 1e-9


class Fit(NamedTuple):
    """The least-squares fit of n tasks over k predictors.

    Attributes:
        coefficients: intercept and slopes [k + 1].
        errors: their standard errors [k + 1].
        covariance: (Z'Z)^-1 [k + 1, k + 1].
        residual: s.
        r2: share of the variance that is explained; NaN if all y are equal.
        p: of the F test that all slopes are 0; NaN for k = 0.
        n: number of tasks.
        ranges: smallest and largest value of each predictor [k, 2].
    """

    coefficients: Floats
    errors: Floats
    covariance: Floats
    residual: float
    r2: float
    p: float
    n: int
    ranges: Floats

    @property
    def df(self) -> int:
        """Degrees of freedom of the residual."""
        return self.n - len(self.coefficients)

    def covers(self, x: ArrayLike) -> bool:
        """Return whether each predictor [k] is within the range of the fitted tasks."""
        values = np.asarray(x, dtype=np.float64)
        return bool(((values >= self.ranges[:, 0]) & (values <= self.ranges[:, 1])).all())


class Partial(NamedTuple):
    """The slope of a predictor given others: its interval, two-sided p, partial correlation and number of tasks."""

    slope: float
    low: float
    high: float
    p: float
    r: float
    n: int


def fit(x: ArrayLike, y: ArrayLike) -> Fit:
    """Fit y [n] over predictors x [n, k].

    Raises:
        ValueError: n < k + 2, values that are not finite, or predictors that are constant or linearly dependent.
    """
    from scipy import stats

    px, py = _checked(x, y)
    n, k = px.shape
    centre, scale = px.mean(axis=0), _scales(px)
    z = np.column_stack([np.ones(n), (px - centre) / scale])
    inverse = np.linalg.inv(z.T @ z)
    coefficients = inverse @ z.T @ py
    left = py - z @ coefficients
    total, unexplained = float(((py - py.mean()) ** 2).sum()), float(left @ left)
    residual = (unexplained / (n - k - 1)) ** 0.5
    r2 = max(0.0, 1 - unexplained / total) if total > _DEPENDENT * max(1.0, float(np.abs(py).max())) else np.nan
    p = np.nan
    if k and r2 == r2:
        p = float(stats.f.sf(r2 / k / ((1 - r2) / (n - k - 1)), k, n - k - 1)) if r2 < 1 else 0.0
    # Back to the units of x.
    back = np.eye(k + 1)
    back[0, 1:], back[np.arange(1, k + 1), np.arange(1, k + 1)] = -centre / scale, 1 / scale
    covariance = back @ inverse @ back.T
    return Fit(
        coefficients=back @ coefficients,
        errors=residual * np.sqrt(np.diag(covariance)),
        covariance=covariance,
        residual=residual,
        r2=r2,
        p=p,
        n=n,
        ranges=np.column_stack([px.min(axis=0), px.max(axis=0)]) if k else np.empty((0, 2)),
    )


def predict(fitted: Fit, x: ArrayLike, level: float = LEVEL) -> Prediction:
    """Predict a new task with predictors x [k], with the interval in which its y is expected.

    Raises:
        ValueError: a predictor is not finite, or there are more or fewer than k.
    """
    from scipy import stats

    values = np.atleast_1d(np.asarray(x, dtype=np.float64))
    if values.shape != (len(fitted.coefficients) - 1,) or not np.isfinite(values).all():
        raise ValueError(f"expected {len(fitted.coefficients) - 1} finite predictors, got {values.tolist()}")
    z = np.concatenate([[1.0], values])
    value = float(z @ fitted.coefficients)
    half = float(stats.t.ppf((1 + level) / 2, fitted.df) * fitted.residual * (1 + z @ fitted.covariance @ z) ** 0.5)
    return Prediction(value, value - half, value + half)


def partial(x: ArrayLike, y: ArrayLike, controls: ArrayLike, level: float = LEVEL) -> Partial:
    """Return the slope of y over x given controls.

    The partial correlation is t / sqrt(t^2 + n - k - 2), with t of the slope and k controls.

    Args:
        x: predictor [n].
        y: outcome [n].
        controls: other predictors [n, k]; k may be 0.
        level: level of the interval.

    Raises:
        ValueError: as `fit`.
    """
    from scipy import stats

    others = np.asarray(controls, dtype=np.float64).reshape(len(np.asarray(y)), -1)
    fitted = fit(np.column_stack([np.asarray(x, dtype=np.float64), others]), y)
    slope, error, df = float(fitted.coefficients[1]), float(fitted.errors[1]), fitted.df
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    t = slope / error if error > 0 else np.copysign(np.inf, slope)
    r = float(t / (t**2 + df) ** 0.5) if np.isfinite(t) else float(np.sign(t))
    return Partial(slope, slope - half, slope + half, float(2 * stats.t.sf(abs(t), df)), r, fitted.n)


def leave_one_out(x: ArrayLike, y: ArrayLike) -> Floats:
    """Return the errors [n]: y_i minus its prediction by the fit of all other tasks.

    Raises:
        ValueError: n < k + 3, as `fit`, or without one of the tasks the others have no fit.
    """
    px, py = _checked(x, y, more=1)
    _scales(px)
    errors: Floats = leave_one_out_all(px[None], py[:, None])[0, :, 0]
    if not np.isfinite(errors).all():
        raise ValueError(f"without task {int((~np.isfinite(errors)).argmax()) + 1} of {len(py)} the others have no fit")
    return errors


def leave_one_out_all(x: Floats, y: Floats) -> Floats:
    """Return the leave-one-out errors [c, n, q] of c sets of predictors [c, n, k] for q outcomes y [n, q].

    Errors are infinite where the fit is undefined.
    """
    sets, n, _ = x.shape
    centred = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    constant = scale <= _DEPENDENT * np.abs(x).max(axis=1, keepdims=True, initial=1e-300)
    z = np.concatenate([np.ones((sets, n, 1)), centred / np.where(constant, 1, scale)], axis=2)
    q, r = np.linalg.qr(z)
    undefined = constant.any(axis=(1, 2)) | (np.abs(np.diagonal(r, axis1=1, axis2=2)).min(axis=1) < 1e-7 * n**0.5)
    leverage = (q**2).sum(axis=2)
    residuals = y - q @ (q.transpose(0, 2, 1) @ y)
    decides = ((leverage > 1 - 1e-7) | undefined[:, None])[:, :, None]
    errors: Floats = np.where(decides, np.inf, residuals / np.where(decides, 1, 1 - leverage[:, :, None]))
    return errors


def _checked(x: ArrayLike, y: ArrayLike, more: int = 0) -> tuple[Floats, Floats]:
    py = np.asarray(y, dtype=np.float64)
    px = np.asarray(x, dtype=np.float64)
    if py.ndim != 1 or px.ndim != 2 or len(px) != len(py):
        raise ValueError(f"expected predictors [n, k] and outcomes [n], got shapes {px.shape} and {py.shape}")
    if len(py) < px.shape[1] + 2 + more:
        raise ValueError(f"{px.shape[1]} predictors need at least {px.shape[1] + 2 + more} tasks, got {len(py)}")
    if not np.isfinite(px).all() or not np.isfinite(py).all():
        raise ValueError("predictors or outcomes have NaN or infinity")
    return px, py


def _scales(x: Floats) -> Floats:
    """Return the standard deviations [k]. Raises ValueError for constant or linearly dependent predictors."""
    scale: Floats = x.std(axis=0)
    if (scale <= _DEPENDENT * np.abs(x).max(axis=0, initial=0.0)).any():
        raise ValueError("a predictor is the same for all tasks")
    standard = (x - x.mean(axis=0)) / scale
    if x.shape[1] and np.linalg.svd(standard, compute_uv=False).min() < 1e-6 * len(x) ** 0.5:
        raise ValueError("the predictors are linearly dependent")
    return scale
