"""Spearman's rank correlation of a measure with an outcome over a handful of domains, with bootstrap intervals.

With x and y replaced by their mid-ranks, which are the means of the ranks of equal values,

    rho = sum (x - x-bar)(y - y-bar) / sqrt(sum (x - x-bar)^2 sum (y - y-bar)^2)

The interval is the central 95 % of rho over resamples of the domains (percentile bootstrap, our choice). A domain is drawn with
all its values, so two measures of the same domains can be compared. With fewer than ten domains the intervals are rough. A
resample in which a value is constant has no order and is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from metrics.regression import LEVEL, check_order

FEWEST = 4
RESAMPLES = 4000


class Estimate(NamedTuple):
    """A rank correlation or a difference of two, the ends of its interval, and the number of domains."""

    value: float
    low: float
    high: float
    n: int

    @property
    def clear(self) -> bool:
        """True if the interval excludes 0."""
        return self.low > 0 or self.high < 0


def spearman(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return Spearman's rho along the last axis of x and y [..., n]. It is NaN where x or y is constant."""
    from scipy.stats import rankdata

    rx, ry = (np.asarray(rankdata(values, axis=-1), dtype=np.float64) for values in (x, y))
    rx, ry = rx - rx.mean(axis=-1, keepdims=True), ry - ry.mean(axis=-1, keepdims=True)
    squares = (rx**2).sum(axis=-1) * (ry**2).sum(axis=-1)
    covariance = (rx * ry).sum(axis=-1)
    rho: NDArray[np.float64] = np.where(squares > 0, covariance / np.sqrt(np.where(squares > 0, squares, 1)), np.nan)
    return rho


def correlation(x: ArrayLike, y: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return Spearman's rho of x and y [n] with its interval.

    Args:
        x: a measure of each domain.
        y: an outcome of each domain.
        resamples: number of resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: for fewer than four domains, NaN or infinite values, and constant x or y.
    """
    px, py = _checked(x, y)
    chosen = _resamples(len(px), resamples, seed)
    return _estimate(float(spearman(px, py)), spearman(px[chosen], py[chosen]), len(px))


def difference(first: ArrayLike, second: ArrayLike, y: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return rho(first, y) - rho(second, y) with its interval. Both measures see the same resamples.

    Args:
        first: a measure of each domain [n].
        second: another measure.
        y: an outcome.
        resamples: number of resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: as `correlation`.
    """
    (px, py), (qx, _) = _checked(first, y), _checked(second, y)
    chosen = _resamples(len(px), resamples, seed)
    drawn = spearman(px[chosen], py[chosen]) - spearman(qx[chosen], py[chosen])
    return _estimate(float(spearman(px, py) - spearman(qx, py)), drawn, len(px))


def _resamples(n: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(n, size=(count, n))


def _estimate(value: float, drawn: NDArray[np.float64], n: int) -> Estimate:
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n)


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y in float64. Raises ValueError as `correlation`."""
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if px.ndim != 1 or px.shape != py.shape:
        raise ValueError(f"x and y must both be [n], got shapes {px.shape} and {py.shape}")
    if len(px) < FEWEST:
        raise ValueError(f"a rank correlation with an interval needs at least {FEWEST} domains, got {len(px)}")
    if not (np.isfinite(px) & np.isfinite(py)).all():
        raise ValueError("x or y has NaN or infinity")
    check_order(px, py)
    return px, py
