"""Jackknife standard errors and confidence intervals of IIMM over the images.

The images are a sample of a task. The class texts are fixed. Leaving out image i changes the two terms of IIMM in closed
form. With s = sum_i x_i, u = sum_c t_c, b_i = s . x_i - |x_i|^2 and c_i = (u - t_{y_i}) . x_i:

    S_intra = sum_i b_i / (N (N - 1))      without i, minus S_intra: -2 (b_i - mean b) / ((N - 1)(N - 2))
    S_inter = sum_i c_i / (N (C - 1))      without i, minus S_inter: -(c_i - mean c) / ((N - 1)(C - 1))

The exact leave-one-out jackknife therefore costs a second pass over the features, O((N + C) d). Its mean is the estimate
itself: the terms are U-statistics, so there is no bias to correct. The variance is (N - 1) / N times the sum of squared
differences (Efron and Stein 1981). The interval is the value plus or minus Student's quantile with N - 1 degrees of freedom
times the standard error.

`group_jackknife` needs no second pass. It leaves out one of several accumulators over random parts of the data, and is
coarser with fewer of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics.iimm import IIMMAccumulator
from metrics.sums import chunks, class_texts


class Interval(NamedTuple):
    """A value, its standard error, and the ends of its confidence interval."""

    value: float
    standard_error: float
    low: float
    high: float


class IIMMIntervals(NamedTuple):
    """IIMM and its two terms with their uncertainty, and the number of images."""

    score: Interval
    intra: Interval
    inter: Interval
    n: int


def jackknife(image_features: Tensor, text_features: Tensor, labels: Tensor, level: float = 0.95) -> IIMMIntervals:
    """Return IIMM with the exact leave-one-out jackknife.

    Images count as independent. Near-duplicates, such as frames of a video, make the intervals too narrow.

    Args:
        image_features: unit image features [N, d].
        text_features: unit text features [C, d].
        labels: labels [N] in 0..C-1.
        level: confidence level in (0, 1).

    Returns:
        Score, intra and inter as intervals.

    Raises:
        ValueError: N < 3, or as `metrics.iimm.iimm`.
    """
    _check_level(level)
    accumulator = IIMMAccumulator().update(image_features, labels)
    if accumulator.n < 3:
        raise ValueError(f"the jackknife needs at least 3 images, got {accumulator.n}")
    whole = accumulator.result(text_features)
    t, n = class_texts(text_features, accumulator), accumulator.n
    s, u = accumulator.sums.sum(dim=0), t.sum(dim=0)
    mean_b, mean_c = whole.intra * (n - 1), whole.inter * (len(t) - 1)
    squares = torch.zeros(3, dtype=torch.float64)
    for x, y in chunks(image_features, labels):
        intra = -2 * (x @ s - (x * x).sum(dim=1) - mean_b) / ((n - 1) * (n - 2))
        inter = -((x * (u - t[y])).sum(dim=1) - mean_c) / ((n - 1) * (len(t) - 1))
        squares += torch.stack([((intra + inter) / 2).square().sum(), intra.square().sum(), inter.square().sum()])
    errors = (squares * (n - 1) / n).sqrt().tolist()
    score, intra_, inter_ = (interval(v, e, n - 1, level) for v, e in zip(whole[:3], errors, strict=True))
    return IIMMIntervals(score, intra_, inter_, n)


def group_jackknife(parts: Sequence[IIMMAccumulator], text_features: Tensor, level: float = 0.95) -> IIMMIntervals:
    """Return IIMM with the delete-a-group jackknife, from accumulators over disjoint random parts of the images.

    Parts of unequal size n_j are weighted by h_j = N / n_j (Busing, Meijer and van der Leeden 1999): pseudo-values
    h_j v - (h_j - 1) v_(j), variance = mean over parts of (pseudo-value - their jackknife mean)^2 / (h_j - 1). Degrees of
    freedom: parts - 1. Draw the parts at random. Parts of a dataset that is sorted by class give intervals far too wide.

    Args:
        parts: the accumulators, ideally 20 or more.
        text_features: unit text features [C, d].
        level: confidence level in (0, 1).

    Returns:
        Score, intra and inter as intervals.

    Raises:
        ValueError: fewer than two parts have images, or fewer than two images remain without a part.
    """
    _check_level(level)
    parts = [part for part in parts if part.n]
    if len(parts) < 2:
        raise ValueError(f"the jackknife needs at least 2 groups with images, got {len(parts)}")
    total = IIMMAccumulator()
    for part in parts:
        total.merge(part)
    whole = total.result(text_features)
    value = np.array(whole[:3])
    left_out = np.array([total.without(part).result(text_features)[:3] for part in parts])
    h = total.n / np.array([part.n for part in parts], dtype=np.float64)[:, None]
    pseudo = h * value - (h - 1) * left_out
    centre = len(parts) * value - ((1 - 1 / h) * left_out).sum(axis=0)
    errors = np.sqrt(((pseudo - centre) ** 2 / (h - 1)).mean(axis=0))
    score, intra, inter = (interval(float(v), float(e), len(parts) - 1, level) for v, e in zip(value, errors, strict=True))
    return IIMMIntervals(score, intra, inter, total.n)


def interval(value: float, standard_error: float, degrees_of_freedom: int, level: float = 0.95) -> Interval:
    """Return the value plus or minus Student's quantile for the level and degrees of freedom times the standard error."""
    from scipy import stats  # takes a second to import

    half_width = (
        float(stats.t.ppf((1 + level) / 2, degrees_of_freedom)) * standard_error if not math.isnan(standard_error) else math.nan
    )
    return Interval(value, standard_error, value - half_width, value + half_width)


def _check_level(level: float) -> None:
    """Raise ValueError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"the confidence level must be between 0 and 1, got {level}")
