"""Checked features with labels as numpy arrays, the input of the transferability measures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Labelled(NamedTuple):
    """Features [N, d], class numbers [N] in 0..K-1 and images per class [K], for the K classes that have images."""

    x: Floats
    y: Integers
    counts: Integers

    @property
    def means(self) -> Floats:
        """Class means [K, d]."""
        sums = np.zeros((len(self.counts), self.x.shape[1]))
        np.add.at(sums, self.y, self.x)
        means: Floats = sums / self.counts[:, None]
        return means


def labelled(features: ArrayLike, labels: ArrayLike) -> Labelled:
    """Check features and labels and convert them to float64. Classes without images are left out.

    Args:
        features: array or CPU tensor [N, d].
        labels: integers [N], from 0.

    Raises:
        ValueError: the shapes are wrong, features are not finite, labels are not integers from 0, or only one class has images.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"expected features [N, d], got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features contain NaN or infinity")
    return Labelled(x, *class_numbers(labels, len(x)))


def class_numbers(labels: ArrayLike, n: int) -> tuple[Integers, Integers]:
    """Return class numbers [N] in 0..K-1 and images per class [K] of integer labels [N]. Raises ValueError as `labelled`."""
    y = np.asarray(labels)
    if y.shape != (n,):
        raise ValueError(f"expected labels [{n}], got shape {y.shape}")
    if n and not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {y.dtype}")
    if n and y.min() < 0:
        raise ValueError(f"negative label {y.min()}")
    classes, numbers, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"at least 2 classes with images are needed, got {len(classes)}")
    return numbers.astype(np.int64), counts.astype(np.int64)
