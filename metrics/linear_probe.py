"""The linear probe: cross-validated accuracy of a linear classifier on frozen image features."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits

from metrics.labelled import Floats, labelled


class Probe(NamedTuple):
    """Cross-validated accuracy in percent, the same per fold [folds], and the number of images."""

    accuracy: float
    folds: Floats
    n: int


def linear_probe(features: ArrayLike, labels: ArrayLike, *, folds: int = 5, C: float = 1.0, seed: int = 0) -> Probe:
    """Return the cross-validated accuracy of scikit-learn's multinomial logistic regression on unit features.

    This is our protocol, not a paper's. Folds are stratified and shuffled by the seed. There are fewer folds if the smallest
    class has fewer images. The accuracy is the mean over all images. Unit features are scaled by sqrt(d), so that a coordinate
    has mean square 1 and scikit-learn's C = 1 regularises as it does for standardised columns. Without the scale the weights
    could hardly grow. The scale is a constant, so nothing of the held-out fold leaks into training. L-BFGS runs at most 1,000
    iterations; scikit-learn warns if they were not enough.

    Args:
        features: unit features [N, d].
        labels: integer labels [N].
        folds: number of folds.
        C: inverse strength of the regularisation.
        seed: seed of the shuffle.

    Returns:
        The accuracy in percent, between chance and 100.

    Raises:
        ValueError: there are fewer than two folds, a class has a single image, features are not finite, shapes are wrong, or
            fewer than two classes have images.
    """
    data = labelled(features, labels)
    folds = min(folds, int(data.counts.min()))
    if folds < 2:
        raise ValueError("the linear probe needs at least 2 folds and 2 images of each class")
    model = LogisticRegression(C=C, max_iter=1000)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scaled = data.x * math.sqrt(data.x.shape[1])
    # The products are small, so threads only wait for each other: 17 s instead of 1 s on two busy cores.
    with threadpool_limits(1):
        accuracy_by_fold = 100 * cross_val_score(model, scaled, data.y, cv=splits, scoring="accuracy", error_score="raise")
    sizes = [len(test) for _, test in splits.split(scaled, data.y)]
    return Probe(float(np.average(accuracy_by_fold, weights=sizes)), accuracy_by_fold, len(data.y))
