"""Linear CKA: how alike two representations of the same images are, whatever their widths."""

from __future__ import annotations

from typing import Any

import numpy as np

from metrics.labelled import Floats


def linear_cka(X: Any, Y: Any) -> float:
    """Linear centred kernel alignment (Kornblith et al. 1905.00414) of features X [N, d] and Y [N, e] of the same N images.

    With centred columns: |Y' X|^2 / (|X' X| |Y' Y|), Frobenius norms. In [0, 1], higher: more alike; 1 when one is a rotation,
    shift and scaling of the other. In feature space: O(N d e), no N x N matrix. This is the usual biased estimate, which
    tends to 1 as N falls below the widths: compare values at one N, well above them.

    Raises ValueError for other shapes, different N, N < 2, features that are not finite or that do not vary.
    """
    x, y = _centred(X, "first"), _centred(Y, "second")
    if len(x) != len(y):
        raise ValueError(f"the features are of {len(x)} and {len(y)} images")
    cross = np.linalg.norm(y.T @ x)
    return float(cross**2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _centred(features: Any, which: str) -> Floats:
    """Centred columns, scaled so that the largest entry is 1: their products must not overflow or vanish."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"expected {which} features [N, d] of at least 2 images, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"the {which} features contain NaN or infinity")
    if not np.ptp(x, axis=0).any():
        raise ValueError(f"the {which} features are the same for all images")
    x = x - x.mean(axis=0)
    return x / abs(x).max()
