"""The numbers of `metrics.matrix` as weighted means over tasks: what each task says, and with how much weight.

Every summary number of an accuracy matrix is such a mean, which is what a comparison over tasks resamples. R is [T, T] in
percent as in `metrics.matrix`. A task without a say has weight 0 and value 0; where a number is undefined, all weights are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class ByTask(NamedTuple):
    """Values [N] of the tasks and their weights [N], which sum to 1 (or are all 0: undefined)."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The number itself; NaN where it is undefined."""
        return float(self.values @ self.weights) if self.weights.any() else float("nan")


def transfer(R: ArrayLike) -> ByTask:
    """Of task i >= 2: its mean accuracy before it is trained. [T]."""
    r = np.asarray(R, dtype=np.float64)
    return _of(range(1, len(r)), lambda i: r[:i, i].mean(), len(r))


def average(R: ArrayLike) -> ByTask:
    """Of each task: the mean of its column. [T]."""
    r = np.asarray(R, dtype=np.float64)
    return _of(range(len(r)), lambda i: r[:, i].mean(), len(r))


def last(R: ArrayLike) -> ByTask:
    """Of each task: its accuracy after the whole stream. [T]."""
    r = np.asarray(R, dtype=np.float64)
    return _of(range(len(r)), lambda i: r[-1, i], len(r))


def forgetting(R: ArrayLike) -> ByTask:
    """Of task i < T: the drop from its best since it was trained to the end, in points. [T]."""
    r = np.asarray(R, dtype=np.float64)
    return _of(range(len(r) - 1), lambda i: r[i:-1, i].max() - r[-1, i], len(r))


def backward_transfer(R: ArrayLike) -> ByTask:
    """Of task i < T: R[T, i] - R[i, i], in points. [T]."""
    r = np.asarray(R, dtype=np.float64)
    return _of(range(len(r) - 1), lambda i: r[-1, i] - r[i, i], len(r))


def retention(R: ArrayLike, row0: ArrayLike, heldout: ArrayLike, heldout0: ArrayLike) -> ByTask:
    """Of each task, then each held-out domain: the zero-shot accuracy that is kept, in percent. [T + H].

    `matrix.retention` is the mean over rows j of the mean over the d_j domains that count in it. So a domain has the weight
    sum_j 1 / (J d_j) over the rows that it counts in (J: rows with any domain), and as value the mean over them, weighted
    alike: held-out domains, which count in every row, weigh most, the first task, trained at once, nothing.

    Args:
        R: [T, T]; row0: [T]; heldout: [T, H], accuracy on the held-out domains after each task; heldout0: [H].
    """
    now = np.hstack([np.asarray(R, dtype=np.float64), np.asarray(heldout, dtype=np.float64)])
    zero = np.concatenate([np.asarray(row0, dtype=np.float64), np.asarray(heldout0, dtype=np.float64)])
    tasks = len(now)
    counts = (np.arange(len(zero)) > np.arange(tasks)[:, None]) | (np.arange(len(zero)) >= tasks)
    counts &= zero > 0
    size = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(size, 1) / max(1, int((size > 0).sum()))
    weights = share.sum(axis=0)
    kept = (share * 100 * now).sum(axis=0)
    usable = weights > 0
    values = np.divide(kept, weights * zero, out=np.zeros_like(kept), where=usable)
    return ByTask(values, weights)


def seen_average(R: ArrayLike, images: Sequence[int]) -> ByTask:
    """Class-incremental: of task i, what it adds to the mean over steps j of the accuracy on all images of tasks 1..j. [T].

    `images` [T]: test images of each task. That accuracy is the mean of R[j, i] over i <= j, weighted by images, so task i has
    the weight sum_{j >= i} n_i / (T (n_1 + ... + n_j)), and as value its accuracies from its own step on, weighted alike.
    """
    r, n = np.asarray(R, dtype=np.float64), np.asarray(images, dtype=np.float64)
    share = np.tril(np.tile(n, (len(n), 1))) / np.cumsum(n)[:, None] / len(n)
    weights = share.sum(axis=0)
    return ByTask((share * r).sum(axis=0) / weights, weights)


def seen_last(R: ArrayLike, images: Sequence[int]) -> ByTask:
    """Class-incremental: accuracy on all classes after the last step; tasks weigh by their test images. [T]."""
    n = np.asarray(images, dtype=np.float64)
    return ByTask(np.asarray(R, dtype=np.float64)[-1], n / n.sum())


def _of(having: range, value: Callable[[int], float], tasks: int) -> ByTask:
    values, weights = np.zeros(tasks), np.zeros(tasks)
    for i in having:
        values[i], weights[i] = value(i), 1 / len(having)
    return ByTask(values, weights)
