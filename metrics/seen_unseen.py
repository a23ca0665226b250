"""Accuracy on tasks that are learned (seen) and on tasks that are not learned yet (unseen), and their harmonic mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class SeenUnseen(NamedTuple):
    """Values in percent after each task [T].

    Attributes:
        seen: mean accuracy on the tasks 1..j.
        unseen: mean accuracy on the tasks j+1..T; NaN after the last task.
        harmonic: 2 S U / (S + U); NaN after the last task.
    """

    seen: NDArray[np.float64]
    unseen: NDArray[np.float64]
    harmonic: NDArray[np.float64]


def seen_unseen(R: ArrayLike) -> SeenUnseen:
    """Return seen, unseen and harmonic mean after each task. Tasks have equal weights.

    The mean of `seen` over rows is the seen-average of the open-domain protocol of CoLeCLIP.

    Args:
        R: accuracy in percent [T, T], R[j, i] on task i after training task j, as in `metrics.matrix`.

    Examples:
        >>> rows = seen_unseen([[80, 60, 50], [85, 90, 40], [60, 80, 95]])
        >>> rows.seen.round(1).tolist(), rows.unseen.tolist(), rows.harmonic.round(1).tolist()
        ([80.0, 87.5, 78.3], [55.0, 40.0, nan], [65.2, 54.9, nan])
    """
    r = np.asarray(R, dtype=np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1]:
        raise ValueError(f"R must be square, got shape {r.shape}")
    seen = np.array([row[: j + 1].mean() for j, row in enumerate(r)])
    unseen = np.array([row[j + 1 :].mean() if j + 1 < len(r) else np.nan for j, row in enumerate(r)])
    total = seen + unseen
    # Where both are 0, so is the harmonic mean.
    harmonic = np.divide(2 * seen * unseen, total, out=np.zeros(len(r)), where=total != 0)
    return SeenUnseen(seen, unseen, harmonic)
