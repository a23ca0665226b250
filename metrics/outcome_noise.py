"""The noise of a study's outcomes from finite test sets and seeds, and the reliability that follows.

An accuracy a of n images has the binomial variance a (100 - a) / n, in points^2. The models before (b) and after training (a)
answer the same images, and the covariance of their errors is not recorded. The noise of a change g = a - b is between

    most     errors of the two models are independent               a (100 - a) / n + b (100 - b) / n
    least    all images that change do so in one direction          |g| (100 - |g|) / n

Gain over the zero-shot error is s = 100 g / (100 - b). Forgetting is the mean of b - a over K other tasks:

    gain over error   most     (var a + ((100 - a) / (100 - b))^2 var b) (100 / (100 - b))^2         (delta method)
                      least    |s| (100 - |s|) / (n (100 - b) / 100), the share of the wrong images that become right
    forgetting        sum over the other tasks of the noise of the change / K^2

    reliability       1 - (mean noise + variance between seeds / seeds) / variance between tasks, at least 0
    corrected R2      R2 / reliability         (Spearman 1904, for noise in the outcome only)

The variance between seeds has a part of the test set's noise too, so the sum overstates the noise a little.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Noise(NamedTuple):
    """Both limits of the variance of an outcome from its test set."""

    least: Floats
    most: Floats


class Reliability(NamedTuple):
    """Reliability of an outcome with its parts, in squared units of the outcome: noise, and variance between tasks."""

    value: float
    noise: float
    between: float

    def corrected(self, r2: float) -> float:
        """Return R2 divided by the reliability, at most 1; NaN if the reliability is 0."""
        return min(1.0, r2 / self.value) if self.value > 0 else math.nan


def accuracy_noise(accuracy: ArrayLike, n: ArrayLike) -> Floats:
    """Return the variance of an accuracy in percent of n images, in points^2.

    Raises:
        ValueError: an accuracy is not in [0, 100], or n is not positive.
    """
    a, count = np.asarray(accuracy, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if (a < 0).any() or (a > 100).any() or (count <= 0).any():
        raise ValueError("accuracies must be in [0, 100], and numbers of images positive")
    variance: Floats = a * (100 - a) / count
    return variance


def gain_noise(before: ArrayLike, after: ArrayLike, n: ArrayLike) -> Noise:
    """Return the variance of after - before, in points^2. Raises ValueError as `accuracy_noise`."""
    b, a = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    most = accuracy_noise(b, n) + accuracy_noise(a, n)
    return Noise(np.minimum(accuracy_noise(np.abs(a - b), n), most), most)


def gain_over_error_noise(before: ArrayLike, after: ArrayLike, n: ArrayLike) -> Noise:
    """Return the variance of 100 (after - before) / (100 - before). NaN without errors before.

    Raises ValueError as `accuracy_noise`.
    """
    b, a = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    error = np.where(b < 100, 100 - b, np.nan)
    most: Floats = (accuracy_noise(a, n) + ((100 - a) / error) ** 2 * accuracy_noise(b, n)) * (100 / error) ** 2
    share = np.abs(100 * (a - b) / error)
    least: Floats = np.minimum(np.maximum(share * (100 - share), 0) / (np.asarray(n) * error / 100), most)
    return Noise(least, most)


def forgetting_noise(before: ArrayLike, after: ArrayLike, n: ArrayLike) -> Noise:
    """Return the variance of the mean change on K other tasks with these accuracies [K]. Raises as `accuracy_noise`."""
    noise = gain_noise(before, after, n)
    least, most = (limit.sum() / len(limit) ** 2 for limit in noise)
    return Noise(least, most)


def reliability(outcomes: ArrayLike, noise: ArrayLike, between_seeds: float = 0.0, seeds: int = 1) -> Reliability:
    """Return the reliability of an outcome.

    Args:
        outcomes: outcome of each task [n], mean over seeds.
        noise: variance of each outcome from the test set [n]. More seeds do not reduce it, because they share the test set.
        between_seeds: mean over tasks of the variance between seeds.
        seeds: number of seeds.

    Raises:
        ValueError: fewer than three tasks, or values that are not finite.
    """
    values, variances = np.asarray(outcomes, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    if len(values) < 3 or not np.isfinite(values).all() or not np.isfinite(variances).all():
        raise ValueError(f"a reliability needs at least 3 tasks with finite values, got {len(values)}")
    between, total = float(values.var(ddof=1)), float(variances.mean()) + between_seeds / seeds
    return Reliability(max(0.0, 1 - total / between) if between > 0 else 0.0, total, between)
