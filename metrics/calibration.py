"""Numbers of a classifier's confidence: expected calibration error, and AUROC of images whose classes are not learned yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, 1706.04599).

        ECE = 100 sum_b (n_b / N) |accuracy of bin b - mean confidence of bin b|

    The bins divide (0, 1] into parts of equal width.

    Args:
        confidence: probability of each answer [N], from 0 to 1.
        correct: whether each answer is right [N].
        bins: number of bins.

    Returns:
        The error in percent; NaN without images.

    Examples:
        Two images in the bin of 0.9, one of them right: |0.5 - 0.9|. Two images in the bin of 0.6, both right: |1 - 0.6|.

        >>> round(expected_calibration_error([0.9, 0.9, 0.6, 0.6], [True, False, True, True], bins=10), 6)
        40.0
    """
    p, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not len(p):
        return float("nan")
    index = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(index, right, bins) - np.bincount(index, p, bins)
    return float(100 * np.abs(gaps).sum() / len(p))


def auroc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Return the area under the ROC curve: how often a positive image has the larger score. Ties count half.

    Args:
        positive: scores of the positive images [P].
        negative: scores of the negative images [N].

    Returns:
        The area in percent; NaN without positive or without negative images.

    Examples:
        Of the four pairs, 0.9 beats both and 0.4 beats one.

        >>> auroc([0.9, 0.4], [0.5, 0.1])
        75.0
    """
    p, n = np.asarray(positive, dtype=np.float64), np.sort(np.asarray(negative, dtype=np.float64))
    if not len(p) or not len(n):
        return float("nan")
    below, up_to = np.searchsorted(n, p, "left"), np.searchsorted(n, p, "right")
    return float(100 * (below + up_to).sum() / (2 * len(p) * len(n)))
