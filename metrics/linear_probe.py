"""The linear probe: how well a linear classifier on frozen image features learns the task."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits

from metrics.labelled import Floats, labelled


class Probe(NamedTuple):
    """Cross-validated accuracy in percent, per fold [folds], and the number of images."""

    accuracy: float
    folds: Floats
    n: int


def linear_probe(features: Any, labels: Any, *, folds: int = 5, C: float = 1.0, seed: int = 0) -> Probe:
    """Accuracy of scikit-learn's multinomial logistic regression on unit features [N, d] and labels [N]; chance to 100.

    Our protocol, not a paper's: stratified folds shuffled by the seed, fewer of them when the smallest class has fewer images;
    the accuracy is the mean over all images. Unit features are scaled by sqrt(d), so that a coordinate has mean square 1 and
    scikit-learn's C = 1 regularises as it does for standardised columns: unscaled, it would hardly let the weights grow. The
    scale is a constant, nothing of the held-out fold leaks into training. At most 1,000 iterations of L-BFGS; scikit-learn
    warns when they were not enough.

    Raises ValueError for fewer than two folds, a class of a single image (nothing would be left to train or to test on),
    features that are not finite, wrong shapes, or fewer than two classes with images.
    """
    data = labelled(features, labels)
    folds = min(folds, int(data.counts.min()))
    if folds < 2:
        raise ValueError("the linear probe needs at least 2 folds and 2 images of each class")
    model = LogisticRegression(C=C, max_iter=1000)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scaled = data.x * math.sqrt(data.x.shape[1])
    # The products are small: several threads wait for one another, 17 s instead of 1 s on two cores in use.
    with threadpool_limits(1):
        found = 100 * cross_val_score(model, scaled, data.y, cv=splits, scoring="accuracy", error_score="raise")
    sizes = [len(test) for _, test in splits.split(scaled, data.y)]
    return Probe(float(np.average(found, weights=sizes)), found, len(data.y))
