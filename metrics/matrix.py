"""Summary numbers of an accuracy matrix.

R is [T, T] in percent: R[j, i] is the accuracy on task i after training task j, both in stream order. The zero-shot row is
not part of R. Everything here is a pure function of R (and row 0), so any summary can be recomputed from a saved matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def transfer(R: ArrayLike) -> float:
    """What is kept of zero-shot ability: mean over tasks i >= 2 of the mean accuracy on i before it is trained.

    (1 / (T - 1)) sum_{i >= 2} (1 / (i - 1)) sum_{j < i} R[j, i]: the mean of column means, not of all upper-triangle cells
    (ZSCL, results notebook). NaN for T = 1.
    """
    r = _square(R)
    columns = [r[:i, i].mean() for i in range(1, len(r))]
    return float(np.mean(columns)) if columns else float("nan")


def average(R: ArrayLike) -> float:
    """Mean of all T x T cells (ZSCL's "Avg")."""
    return float(_square(R).mean())


def last(R: ArrayLike) -> float:
    """Mean of the last row: all tasks after the whole stream (ZSCL's "Last")."""
    return float(_square(R)[-1].mean())


def forgetting(R: ArrayLike) -> float:
    """Mean over i < T of (max_{i <= l < T} R[l, i] - R[T, i]): the drop from the best since it was trained.

    Chaudhry et al. 2018. NaN for T = 1. Negative when the last task improved the earlier ones.
    """
    r = _square(R)
    drops = [r[i:-1, i].max() - r[-1, i] for i in range(len(r) - 1)]
    return float(np.mean(drops)) if drops else float("nan")


def backward_transfer(R: ArrayLike) -> float:
    """Mean over i < T of R[T, i] - R[i, i] (Lopez-Paz and Ranzato 2017). NaN for T = 1."""
    r = _square(R)
    changes = [r[-1, i] - r[i, i] for i in range(len(r) - 1)]
    return float(np.mean(changes)) if changes else float("nan")


class Retention(NamedTuple):
    """Zero-shot retention in percent: per row [T] (NaN: nothing left to retain), its mean, and tasks counted per row [T]."""

    rows: NDArray[np.float64]
    summary: float
    counts: NDArray[np.int64]


def retention(R: ArrayLike, row0: ArrayLike, heldout: ArrayLike | None = None, heldout0: ArrayLike | None = None) -> Retention:
    """How much zero-shot accuracy is kept on what was never trained (our definition).

    After task j: 100 x mean, over the held-out domains and the tasks i > j, of accuracy / zero-shot accuracy. Tasks whose
    zero-shot accuracy is 0 are left out of mean and count; a row without any task is NaN and left out of the summary, which
    is the mean over rows.

    Args:
        R: [T, T]; row0: [T], zero-shot accuracy on the tasks.
        heldout: [T, H] accuracy on held-out domains after each task; heldout0: [H], zero-shot. Both or neither.

    Raises ValueError when the shapes do not fit.
    """
    r = _square(R)
    tasks = len(r)
    zero = np.asarray(row0, dtype=np.float64)
    if zero.shape != (tasks,):
        raise ValueError(f"row0 must have {tasks} values, got shape {zero.shape}")
    if (heldout is None) != (heldout0 is None):
        raise ValueError("heldout and heldout0 go together")
    held = np.zeros((tasks, 0)) if heldout is None else np.asarray(heldout, dtype=np.float64)
    held0 = np.zeros(0) if heldout0 is None else np.asarray(heldout0, dtype=np.float64)
    if held.shape != (tasks, len(held0)):
        raise ValueError(f"heldout must be [{tasks}, {len(held0)}], got {list(held.shape)}")
    rows = np.full(tasks, np.nan)
    counts = np.zeros(tasks, dtype=np.int64)
    for j in range(tasks):
        now = np.concatenate([r[j, j + 1 :], held[j]])
        before = np.concatenate([zero[j + 1 :], held0])
        usable = before > 0
        counts[j] = usable.sum()
        if counts[j]:
            rows[j] = 100 * (now[usable] / before[usable]).mean()
    summary = float(np.nanmean(rows)) if counts.any() else float("nan")
    return Retention(rows, summary, counts)


def _square(R: ArrayLike) -> NDArray[np.float64]:
    r = np.asarray(R, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or r.shape[0] == 0:
        raise ValueError(f"the accuracy matrix must be [T, T] with T >= 1, got shape {r.shape}")
    return r
