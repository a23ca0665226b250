"""Summary numbers of an accuracy matrix.

R is [T, T] in percent. R[j, i] is the accuracy on task i after training task j, with tasks numbered 1..T in stream order.
The zero-shot row ("row 0", the accuracy before any training) and the held-out domains are not part of R: no number below
counts them, except `retention`, which takes them as separate arguments. All functions are pure, so every summary can be
computed again from a saved matrix (`accuracy.csv`).

The examples use this matrix of three tasks:

    after training    task 1    task 2    task 3
    1                     80        60        50
    2                     85        90        40
    3                     60        80        95
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def transfer(R: ArrayLike) -> float:
    """Return Transfer: the mean accuracy on tasks that are not trained yet.

        Transfer = (1 / (T - 1)) sum_{i = 2..T} (1 / (i - 1)) sum_{j = 1..i-1} R[j, i]

    For each task i from the second on, the accuracies on it after tasks 1..i-1 are averaged first. Transfer is the mean of
    these column means (ZSCL's results notebook). It is not the mean of all cells above the diagonal. The zero-shot accuracy
    before the first task does not count, and the first task has no cell that counts.

    Args:
        R: accuracy in percent [T, T], R[j, i] on task i after training task j, without row 0 and held-out columns.

    Returns:
        Transfer in percent; NaN for T = 1.

    Raises:
        ValueError: R is not a square matrix.

    Examples:
        Task 2 counts 60. Task 3 counts (50 + 40) / 2 = 45. Transfer is (60 + 45) / 2 = 52.5. The mean of the three cells above
        the diagonal would be 50.

        >>> transfer([[80, 60, 50], [85, 90, 40], [60, 80, 95]])
        52.5
    """
    r = _square(R)
    columns = [r[:i, i].mean() for i in range(1, len(r))]
    return float(np.mean(columns)) if columns else float("nan")


def average(R: ArrayLike) -> float:
    """Return Average: the mean of all T x T cells (ZSCL's "Avg").

    It counts each task before, at and after its training. Row 0 and held-out domains do not count.

    Args:
        R: accuracy in percent [T, T], as in `transfer`.

    Returns:
        Average in percent.

    Raises:
        ValueError: R is not a square matrix.

    Examples:
        The nine cells sum to 640.

        >>> round(average([[80, 60, 50], [85, 90, 40], [60, 80, 95]]), 2)
        71.11
    """
    return float(_square(R).mean())


def last(R: ArrayLike) -> float:
    """Return Last: the mean of the last row, which is the accuracy on all tasks after the whole stream (ZSCL's "Last").

    Args:
        R: accuracy in percent [T, T], as in `transfer`.

    Returns:
        Last in percent.

    Raises:
        ValueError: R is not a square matrix.

    Examples:
        (60 + 80 + 95) / 3.

        >>> round(last([[80, 60, 50], [85, 90, 40], [60, 80, 95]]), 2)
        78.33
    """
    return float(_square(R)[-1].mean())


def forgetting(R: ArrayLike) -> float:
    """Return Forgetting: the mean drop from a task's best accuracy since it was trained to its last one.

        Forgetting = (1 / (T - 1)) sum_{i = 1..T-1} (max_{i <= l < T} R[l, i] - R[T, i])

    Chaudhry et al. 2018. The last task does not count. The value is negative if the last task improved the earlier ones.

    Args:
        R: accuracy in percent [T, T], as in `transfer`.

    Returns:
        Forgetting in points; NaN for T = 1. Lower values are better.

    Raises:
        ValueError: R is not a square matrix.

    Examples:
        Task 1 drops from max(80, 85) to 60. Task 2 drops from 90 to 80. Forgetting is (25 + 10) / 2.

        >>> forgetting([[80, 60, 50], [85, 90, 40], [60, 80, 95]])
        17.5
    """
    r = _square(R)
    drops = [r[i:-1, i].max() - r[-1, i] for i in range(len(r) - 1)]
    return float(np.mean(drops)) if drops else float("nan")


def backward_transfer(R: ArrayLike) -> float:
    """Return BWT: the mean change of a task's accuracy from right after its training to the end.

        BWT = (1 / (T - 1)) sum_{i = 1..T-1} (R[T, i] - R[i, i])

    Lopez-Paz and Ranzato 2017. The last task does not count.

    Args:
        R: accuracy in percent [T, T], as in `transfer`.

    Returns:
        BWT in points; NaN for T = 1. Higher values are better.

    Raises:
        ValueError: R is not a square matrix.

    Examples:
        Task 1 changes from 80 to 60 and task 2 from 90 to 80.

        >>> backward_transfer([[80, 60, 50], [85, 90, 40], [60, 80, 95]])
        -15.0
    """
    r = _square(R)
    changes = [r[-1, i] - r[i, i] for i in range(len(r) - 1)]
    return float(np.mean(changes)) if changes else float("nan")


class Retention(NamedTuple):
    """Zero-shot retention in percent.

    Attributes:
        rows: the retention after each task [T]; NaN if no domain counts in the row.
        summary: the mean of `rows` without NaN.
        counts: the number of domains that count in each row [T].
    """

    rows: NDArray[np.float64]
    summary: float
    counts: NDArray[np.int64]


def retention(R: ArrayLike, row0: ArrayLike, heldout: ArrayLike | None = None, heldout0: ArrayLike | None = None) -> Retention:
    """Return the share of zero-shot accuracy that is kept on domains that were never trained (our definition).

        row j = 100 x mean of accuracy after task j / zero-shot accuracy, over the tasks i > j and the held-out domains

    Domains whose zero-shot accuracy is 0 do not count. A row without any domain is NaN and does not count in the summary,
    which is the mean over rows. After the last task only held-out domains are left.

    Args:
        R: accuracy in percent [T, T], as in `transfer`.
        row0: zero-shot accuracy on the tasks [T].
        heldout: accuracy on the held-out domains after each task [T, H]. Give it together with `heldout0`.
        heldout0: zero-shot accuracy on the held-out domains [H].

    Returns:
        The rows, their mean and the number of domains in each row.

    Raises:
        ValueError: the shapes do not fit, or only one of `heldout` and `heldout0` is given.

    Examples:
        Zero-shot accuracies are 50, 64, 50 on the tasks and 40 on one held-out domain. Row 1 is the mean of 60/64, 50/50 and
        38/40. Row 2 is the mean of 40/50 and 36/40. Row 3 is 30/40.

        >>> R = [[80, 60, 50], [85, 90, 40], [60, 80, 95]]
        >>> kept = retention(R, [50, 64, 50], [[38], [36], [30]], [40])
        >>> kept.rows.round(2).tolist(), round(kept.summary, 2), kept.counts.tolist()
        ([96.25, 85.0, 75.0], 85.42, [3, 2, 1])
    """
    r = _square(R)
    tasks = len(r)
    zero = np.asarray(row0, dtype=np.float64)
    if zero.shape != (tasks,):
        raise ValueError(f"row0 must have {tasks} values, got shape {zero.shape}")
    if (heldout is None) != (heldout0 is None):
        raise ValueError("give both heldout and heldout0, or neither")
    heldout_now = np.zeros((tasks, 0)) if heldout is None else np.asarray(heldout, dtype=np.float64)
    heldout_zero = np.zeros(0) if heldout0 is None else np.asarray(heldout0, dtype=np.float64)
    if heldout_now.shape != (tasks, len(heldout_zero)):
        raise ValueError(f"heldout must be [{tasks}, {len(heldout_zero)}], got {list(heldout_now.shape)}")
    rows = np.full(tasks, np.nan)
    counts = np.zeros(tasks, dtype=np.int64)
    for j in range(tasks):
        now = np.concatenate([r[j, j + 1 :], heldout_now[j]])
        before = np.concatenate([zero[j + 1 :], heldout_zero])
        counted = before > 0
        counts[j] = counted.sum()
        if counts[j]:
            rows[j] = 100 * (now[counted] / before[counted]).mean()
    summary = float(np.nanmean(rows)) if counts.any() else float("nan")
    return Retention(rows, summary, counts)


def _square(R: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix in float64. Raises ValueError unless it is [T, T] with T >= 1."""
    r = np.asarray(R, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or r.shape[0] == 0:
        raise ValueError(f"the accuracy matrix must be [T, T] with T >= 1, got shape {r.shape}")
    return r
