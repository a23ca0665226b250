"""Linear CKA: the similarity of two representations of the same images, of any widths."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from metrics.labelled import Floats


def linear_cka(X: ArrayLike, Y: ArrayLike) -> float:
    """Return the linear centred kernel alignment of two sets of features (Kornblith et al. 1905.00414).

    With centred columns and Frobenius norms, CKA = |Y' X|^2 / (|X' X| |Y' Y|). It is 1 when one representation is a rotation,
    shift and scaling of the other. It is computed in feature space: O(N d e) time and no N x N matrix. This is the usual
    biased estimate, which tends to 1 as N falls below the widths. Compare only values at the same N, well above the widths.

    Args:
        X: features [N, d].
        Y: features [N, e] of the same N images.

    Returns:
        The similarity in [0, 1]. Higher values mean more alike.

    Raises:
        ValueError: the shapes are wrong, the numbers of images differ, N < 2, or features are not finite or do not vary.

    Examples:
        >>> X = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
        >>> Y = [[0.0, 2.0], [-2.0, 0.0], [-2.0, 2.0]]  # X rotated and scaled
        >>> round(linear_cka(X, Y), 6)
        1.0
    """
    x, y = _centred(X, "first"), _centred(Y, "second")
    if len(x) != len(y):
        raise ValueError(f"both sets of features must be of the same images, got {len(x)} and {len(y)} images")
    cross = np.linalg.norm(y.T @ x)
    return float(cross**2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def debiased_cka(X: ArrayLike, Y: ArrayLike) -> float:
    """Return linear CKA from unbiased estimates of HSIC, for few images or wide features.

    CKA = h(K, L) / sqrt(h(K, K) h(L, L)) with K = X X', L = Y Y' and their diagonals set to 0, where

        h(K, L) = [sum_ij K_ij L_ij + (1'K1)(1'L1) / ((N - 1)(N - 2)) - 2 (K1)'(L1) / (N - 2)] / (N (N - 3))

    is the unbiased estimate of HSIC (Song et al. 2012, JMLR 13; in CKA: Nguyen et al. 2021, 2010.15327). `linear_cka` grows
    with the widths at a fixed N. This estimate does not, so it compares models of different widths. It is computed in feature
    space: O(N d e) time.

    Args:
        X: features [N, d].
        Y: features [N, e] of the same N images.

    Returns:
        The similarity, at most 1. It can be slightly below 0 for unrelated features.

    Raises:
        ValueError: as `linear_cka`, for N < 4, and if an estimate of HSIC(K, K) or HSIC(L, L) is not above 0.
    """
    x, y = _centred(X, "first"), _centred(Y, "second")
    if len(x) != len(y):
        raise ValueError(f"both sets of features must be of the same images, got {len(x)} and {len(y)} images")
    if len(x) < 4:
        raise ValueError(f"the unbiased estimate needs at least 4 images, got {len(x)}")
    own_x, own_y = _hsic(x, x), _hsic(y, y)
    if not (own_x > 0 and own_y > 0):
        raise ValueError("the features vary too little for the unbiased estimate")
    return float(min(1.0, _hsic(x, y) / np.sqrt(own_x * own_y)))


def _hsic(x: Floats, y: Floats) -> float:
    """Return the unbiased estimate of HSIC of centred features, times N (N - 3)."""
    n = len(x)
    diagonal_x, diagonal_y = (x * x).sum(axis=1), (y * y).sum(axis=1)
    # The columns of x sum to 0, so that a row of K = x x' without its diagonal sums to minus its diagonal entry.
    products = np.linalg.norm(y.T @ x) ** 2 - diagonal_x @ diagonal_y
    totals = diagonal_x.sum() * diagonal_y.sum() / ((n - 1) * (n - 2))
    return float(products + totals - 2 * (diagonal_x @ diagonal_y) / (n - 2))


def _centred(features: ArrayLike, which: str) -> Floats:
    """Return the features with centred columns, scaled to a largest entry of 1 so that products cannot overflow or vanish."""
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"expected {which} features [N, d] of at least 2 images, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"the {which} features contain NaN or infinity")
    if not np.ptp(x, axis=0).any():
        raise ValueError(f"the {which} features are the same for all images")
    x = x - x.mean(axis=0)
    scaled: Floats = x / abs(x).max()
    return scaled
