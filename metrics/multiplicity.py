"""Corrections for several tests on the same tasks: Holm's p, and the permutation maximum of Westfall and Young (1993).

Holm sorts the p of m tests: the i-th smallest becomes max over j <= i of min(1, (m - j + 1) p_(j)). It needs only valid p.

The permutation maximum assigns the outcomes to other tasks at random. One permutation moves all outcomes of a task together,
so the correlations between outcomes, tunings and families stay. The p of a line is the share of permutations in which the
largest |r| of all lines is at least its |r|. The observed assignment counts as one permutation. Errors need not be normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SHUFFLES = 10_000
_BATCH = 500
_TIE = 1e-9


def holm(p: ArrayLike) -> Floats:
    """Return the corrected p [m] of tests with p [m]. NaN stays NaN and does not count as a test.

    Raises:
        ValueError: a p is not in [0, 1].
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise ValueError("p must be in [0, 1]")
    order = known[np.argsort(values[known], kind="stable")]
    corrected = np.full(values.shape, np.nan)
    steps = np.minimum(1, np.arange(len(order), 0, -1) * values[order])
    corrected[order] = np.maximum.accumulate(steps) if len(order) else steps
    return corrected


def correlations(x: Floats, y: Floats) -> Floats:
    """Return the correlations [..., m, k] of measures x [n, m] and outcomes y [..., n, k] over the tasks with both values.

    They are NaN for fewer than three tasks or where a value is constant.
    """
    return _correlations(*_filled(x), *_filled(y))


def _correlations(x: Floats, x_known: Floats, y: Floats, y_known: Floats) -> Floats:
    """Return the correlations of columns with missing values as 0, given the masks of known values."""
    ys, my, t, mt = y, y_known, x.T, x_known.T
    n, sx, sy = mt @ my, t @ my, mt @ ys
    covariance = n * (t @ ys) - sx * sy
    variances = (n * ((t**2) @ my) - sx**2) * (n * (mt @ ys**2) - sy**2)
    defined = (variances > 1e-18 * n**4) & (n >= 3)
    r: Floats = np.where(defined, covariance / np.sqrt(np.where(defined, variances, 1)), np.nan)
    return r


def permutation_maximum(blocks: Sequence[tuple[Floats, Floats]], shuffles: int = SHUFFLES, seed: int = 0) -> list[Floats]:
    """Return the p of each line, corrected over all lines of all blocks.

    Args:
        blocks: measures [n, m] and outcomes [n, k] of the same n tasks, one pair per family. NaN is missing.
        shuffles: number of random permutations.
        seed: seed of the permutations.

    Returns:
        One array [m, k] per block. Lines that are undefined are NaN.

    Raises:
        ValueError: the blocks are not over the same number of tasks.
    """
    sizes = {len(values) for block in blocks for values in block}
    if len(sizes) != 1:
        raise ValueError(f"all blocks must be over the same tasks, got {sorted(sizes)} tasks")
    [n] = sizes
    observed = [np.abs(correlations(x, y)) for x, y in blocks]
    generator = np.random.default_rng(seed)
    reached = [np.ones(r.shape) for r in observed]
    filled = [(*_filled(x), *_filled(y)) for x, y in blocks]
    for start in range(0, shuffles, _BATCH):
        count = min(_BATCH, shuffles - start)
        order = generator.permuted(np.tile(np.arange(n), (count, 1)), axis=1)
        largest = np.zeros(count)
        for x, x_known, y, y_known in filled:
            r = np.abs(_correlations(x, x_known, y[order], y_known[order])).reshape(count, -1)
            largest = np.fmax(largest, np.fmax.reduce(r, axis=1, initial=0.0))
        for total, r in zip(reached, observed, strict=True):
            total += (largest[:, None, None] >= r - _TIE).sum(axis=0)
    return [np.where(np.isnan(r), np.nan, total / (shuffles + 1)) for total, r in zip(reached, observed, strict=True)]


def _filled(values: Floats) -> tuple[Floats, Floats]:
    """Return the columns with mean 0 and variance 1, missing values as 0, and the mask of known values."""
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=-2, keepdims=True), 1)
    centred = np.where(known, values, 0)
    centred = np.where(known, centred - centred.sum(axis=-2, keepdims=True) / counts, 0)
    spread = np.sqrt((centred**2).sum(axis=-2, keepdims=True) / counts)
    largest = np.abs(np.where(known, values, 0)).max(axis=-2, keepdims=True)
    varies = spread > _TIE * largest
    return np.where(varies, centred / np.where(varies, spread, 1), 0.0), known.astype(np.float64)
