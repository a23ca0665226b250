"""The change of an accuracy between two models on the same test images, with its interval. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metrics.comparison import LEVEL


class Answers(NamedTuple):
    """Answers of two models on the same images.

    Attributes:
        gained: images that only the second model classifies correctly.
        lost: images that only the first model classifies correctly.
        n: all images.
    """

    gained: int
    lost: int
    n: int


class Change(NamedTuple):
    """Accuracy of the second model minus that of the first in points, its 95 % interval, and the p-value of no change."""

    points: float
    low: float
    high: float
    p: float


def change(runs: Sequence[Answers]) -> Change:
    """Return the mean change over runs that differ in their seed, for further seeds and further test images like these.

    The variance of the mean is the sum of two parts. The part of the images is the mean over runs of

        ((b + c) - (b - c)^2 / N) / N^2

    with b = gained + 1/2, c = lost + 1/2 and N = n + 2: Wald's variance for paired proportions with half an image in each of
    the four cells, after Agresti and Min (2005), so that a change of no image still has an interval. It is not divided by the
    number of runs, because all runs are tested on the same images. The part of the seeds is s^2 / S, with the standard
    deviation s of the S changes; with one run it is missing. The interval and the two-sided p-value are Student's, with
    Satterthwaite's degrees of freedom. The part of the seeds contains some noise of the images, so the sum is conservative.

    Args:
        runs: the counts of each run.

    Raises:
        ValueError: without runs, for a run without images, and for impossible counts.
    """
    from scipy import stats

    if not runs:
        raise ValueError("there is no run")
    for gained, lost, n in runs:
        if n < 1 or gained < 0 or lost < 0 or gained + lost > n:
            raise ValueError(f"{gained} gained and {lost} lost of {n} images are impossible counts")
    b, c, images = np.array(runs, dtype=np.float64).T
    changes = (b - c) / images
    total = images + 2
    of_images = float((((b + c + 1) - (b - c) ** 2 / total) / total**2).mean())
    parts = [(of_images, float(images.min()) - 1)]
    if len(runs) > 1:
        parts.append((float(changes.var(ddof=1)) / len(runs), len(runs) - 1))
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / max(1.0, freedom) for part, freedom in parts)
    mean, error = float(changes.mean()), variance**0.5
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, degrees))
    return Change(100 * mean, 100 * (mean - half), 100 * (mean + half), p)
