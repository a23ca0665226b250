"""The summary numbers of `metrics.matrix` as weighted means over tasks.

Each number is the sum over tasks of weight x value. A comparison of two methods resamples tasks with these weights. R is
[T, T] in percent as in `metrics.matrix`. A task that does not count in a number has weight 0 and value 0. Where a number is
undefined, all weights are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class ByTask(NamedTuple):
    """Values [N] and weights [N] of the tasks. The weights sum to 1, or are all 0 where the number is undefined."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The weighted mean of the values, which is the summary number; NaN where it is undefined."""
        return float(self.values @ self.weights) if self.weights.any() else float("nan")


def transfer(R: ArrayLike) -> ByTask:
    """Return the terms of Transfer [T]: for each task i >= 2, its mean accuracy before it is trained."""
    r = np.asarray(R, dtype=np.float64)
    return _equal_weights(range(1, len(r)), lambda i: r[:i, i].mean(), len(r))


def average(R: ArrayLike) -> ByTask:
    """Return the terms of Average [T]: for each task, the mean of its column."""
    r = np.asarray(R, dtype=np.float64)
    return _equal_weights(range(len(r)), lambda i: r[:, i].mean(), len(r))


def last(R: ArrayLike) -> ByTask:
    """Return the terms of Last [T]: for each task, its accuracy after the whole stream."""
    r = np.asarray(R, dtype=np.float64)
    return _equal_weights(range(len(r)), lambda i: r[-1, i], len(r))


def forgetting(R: ArrayLike) -> ByTask:
    """Return the terms of Forgetting [T]: for each task i < T, the drop in points from its best accuracy to its last one."""
    r = np.asarray(R, dtype=np.float64)
    return _equal_weights(range(len(r) - 1), lambda i: r[i:-1, i].max() - r[-1, i], len(r))


def backward_transfer(R: ArrayLike) -> ByTask:
    """Return the terms of BWT [T]: for each task i < T, R[T, i] - R[i, i] in points."""
    r = np.asarray(R, dtype=np.float64)
    return _equal_weights(range(len(r) - 1), lambda i: r[-1, i] - r[i, i], len(r))


def retention(R: ArrayLike, row0: ArrayLike, heldout: ArrayLike, heldout0: ArrayLike) -> ByTask:
    """Return the terms of Retention [T + H]: for each task, then each held-out domain, the zero-shot accuracy kept, in percent.

    `matrix.retention` is the mean over rows j of the mean over the d_j domains that count in row j. A domain therefore has the
    weight sum_j 1 / (J d_j) over the rows that it counts in, where J is the number of rows with at least one domain. Its value
    is the mean over these rows with the same weights. Held-out domains count in every row and weigh most. The first task is
    trained at once and has weight 0.

    Args:
        R: accuracy [T, T].
        row0: zero-shot accuracy on the tasks [T].
        heldout: accuracy on the held-out domains after each task [T, H].
        heldout0: zero-shot accuracy on the held-out domains [H].
    """
    now = np.hstack([np.asarray(R, dtype=np.float64), np.asarray(heldout, dtype=np.float64)])
    zero = np.concatenate([np.asarray(row0, dtype=np.float64), np.asarray(heldout0, dtype=np.float64)])
    tasks = len(now)
    counts = (np.arange(len(zero)) > np.arange(tasks)[:, None]) | (np.arange(len(zero)) >= tasks)
    counts &= zero > 0
    domains_per_row = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(domains_per_row, 1) / max(1, int((domains_per_row > 0).sum()))
    weights = share.sum(axis=0)
    kept_accuracy = (share * 100 * now).sum(axis=0)
    counted = weights > 0
    values = np.divide(kept_accuracy, weights * zero, out=np.zeros_like(kept_accuracy), where=counted)
    return ByTask(values, weights)


def seen_average(R: ArrayLike, images: Sequence[int]) -> ByTask:
    """Return the terms of the class-incremental average [T].

    The number is the mean over steps j of the accuracy on all images of tasks 1..j. That accuracy is the mean of R[j, i] over
    i <= j, weighted by images. Task i therefore has the weight sum_{j >= i} n_i / (T (n_1 + ... + n_j)), and its value is the
    mean of its accuracies from its own step on with the same weights.

    Args:
        R: accuracy [T, T].
        images: number of test images of each task [T].
    """
    r, n = np.asarray(R, dtype=np.float64), np.asarray(images, dtype=np.float64)
    share = np.tril(np.tile(n, (len(n), 1))) / np.cumsum(n)[:, None] / len(n)
    weights = share.sum(axis=0)
    return ByTask((share * r).sum(axis=0) / weights, weights)


def seen_last(R: ArrayLike, images: Sequence[int]) -> ByTask:
    """Return the terms of the accuracy on all classes after the last step [T]. Tasks weigh by their number of test images."""
    n = np.asarray(images, dtype=np.float64)
    return ByTask(np.asarray(R, dtype=np.float64)[-1], n / n.sum())


def _equal_weights(counted: range, value: Callable[[int], float], tasks: int) -> ByTask:
    """Return the value of each counted task with equal weights that sum to 1."""
    values, weights = np.zeros(tasks), np.zeros(tasks)
    for i in counted:
        values[i], weights[i] = value(i), 1 / len(counted)
    return ByTask(values, weights)
