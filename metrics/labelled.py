"""Features with labels as numpy arrays, checked: what the transferability measures start from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Labelled(NamedTuple):
    """Features [N, d] and, for the K classes that have images, class numbers [N] in 0..K-1 and images per class [K]."""

    x: Floats
    y: Integers
    counts: Integers

    @property
    def means(self) -> Floats:
        """Class means [K, d]."""
        sums = np.zeros((len(self.counts), self.x.shape[1]))
        np.add.at(sums, self.y, self.x)
        return sums / self.counts[:, None]


def labelled(features: Any, labels: Any) -> Labelled:
    """Features [N, d] (array or tensor on the CPU) in float64 with their labels [N]; classes without images are left out.

    Raises ValueError for other shapes, features that are not finite, labels that are not integers from 0, or one class.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError(f"expected features [N, d], got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("features contain NaN or infinity")
    return Labelled(x, *class_numbers(labels, len(x)))


def class_numbers(labels: Any, n: int) -> tuple[Integers, Integers]:
    """(class numbers [N] in 0..K-1, images per class [K]) of integer labels [N]. Raises ValueError as `labelled`."""
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
