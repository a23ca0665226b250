"""Transferability scores: how well frozen features, or a source classifier, fit the labels of a new task.

Features [N, d] and integer labels [N] are arrays or CPU tensors. All computations are in float64. Classes without images
are left out. All functions raise ValueError for features that are not finite, wrong shapes, or fewer than two classes with
images. Higher scores are better. Scores of tasks with different numbers of classes are on different scales; the papers rank
models on one task.

SFDA and NCTI, which build a discriminant analysis, are in `metrics.discriminant`. EMMS (2308.06262) is not implemented: it
regresses features on the label embeddings of three large encoders.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

from metrics.labelled import Floats, class_numbers, labelled


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Return LogME: mean log evidence per image of linear regressions on the one-hot labels (You et al. 2102.11005).

    The mean is over classes. For a class with one-hot target v [N] and features F [N, d], w ~ N(0, I / alpha),
    v ~ N(F w, I / beta), and the score is

        max over alpha, beta of log p(v | F) / N

    At its best beta, the evidence depends only on t = alpha / beta. With F's singular values sigma_i and left vectors U,

        r(t) = |v|^2 - sum_i (u_i . v)^2 sigma_i^2 / (sigma_i^2 + t)
        log p = -N/2 (log(2 pi r(t) / N) + 1) - 1/2 sum_i log(1 + sigma_i^2 / t)

    The papers iterate a fixed point from alpha = beta = 1 (at most 11 steps). Here the maximum over t is searched on a grid of
    121 values from 1e-12 to 1e12 times the largest sigma^2 and then refined, which cannot stop early or in a smaller maximum.

    Args:
        features: features [N, d].
        labels: integer labels [N].

    Returns:
        The score, without a fixed range. It is +inf when a class is an exact linear function of the features and N exceeds
        their rank.

    Raises:
        ValueError: the input is invalid, or all features are zero.
    """
    data = labelled(features, labels)
    n = len(data.x)
    u, sigma, _ = _reduced_svd(data.x)
    squared = sigma**2
    if not len(squared):
        raise ValueError("all features are zero")
    projections = np.stack([u[data.y == c].sum(axis=0) for c in range(len(data.counts))]) ** 2
    outside = np.clip(data.counts - projections.sum(axis=1), 0, None)
    if len(squared) < n and (outside <= 1e-12 * data.counts).any():
        return math.inf

    def evidence(log_t: float, share: Floats, rest: Any) -> Any:
        t = math.exp(log_t)
        r = rest + share @ (t / (squared + t))
        return (-(np.log(2 * np.pi * r / n) + 1) - np.log1p(squared / t).sum() / n) / 2

    grid = np.log(squared[0]) + np.linspace(math.log(1e-12), math.log(1e12), 121)
    coarse = np.stack([evidence(g, projections, outside) for g in grid])
    best = coarse.max(axis=0)
    for c, i in enumerate(coarse.argmax(axis=0)):
        bounds = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
        negative = lambda g, c=c: -evidence(g, projections[c], outside[c])  # noqa: E731
        optimum = optimize.minimize_scalar(negative, bounds=bounds, method="bounded", options={"xatol": 1e-9})
        best[c] = max(best[c], -optimum.fun)
    return float(best.mean())


def leep(source_probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return LEEP: the log likelihood of the labels through a source classifier (Nguyen et al. 2002.12462).

    With theta [N, Z] the source classifier's probabilities: P(y, z) = mean over images of [y_i = y] theta_iz, P(y | z) =
    P(y, z) / P(z), and LEEP = mean over images of log sum_z P(y_i | z) theta_iz.

    Args:
        source_probabilities: probabilities [N, Z] by the source classifier. Rows sum to 1 within 1e-4, which float32 meets.
        labels: integer labels [N].

    Returns:
        The score, at most 0.

    Raises:
        ValueError: the input is invalid, or rows are not probabilities.
    """
    theta = np.asarray(source_probabilities, dtype=np.float64)
    if theta.ndim != 2:
        raise ValueError(f"expected probabilities [N, Z], got shape {theta.shape}")
    if not np.isfinite(theta).all() or (theta < 0).any() or (abs(theta.sum(axis=1) - 1) > 1e-4).any():
        raise ValueError("the source probabilities must be non-negative and sum to 1 in each row")
    y, counts = class_numbers(labels, len(theta))
    theta = theta[:, theta.any(axis=0)]
    joint = np.stack([theta[y == c].sum(axis=0) for c in range(len(counts))])
    conditional = joint / joint.sum(axis=0)
    return float(np.log((conditional[y] * theta).sum(axis=1)).mean())


def nce(source_labels: ArrayLike, labels: ArrayLike) -> float:
    """Return NCE: minus the conditional entropy H(label | source label) in nats (Tran et al. 1908.08142).

    It is the sum over pairs of P(y, z) log(P(y, z) / P(z)) with empirical shares.

    Args:
        source_labels: predictions [N] of a source classifier, as integers.
        labels: integer labels [N].

    Returns:
        The score between -log K and 0.

    Raises:
        ValueError: the input is invalid.
    """
    y, _ = class_numbers(labels, len(np.asarray(labels)))
    z = np.asarray(source_labels)
    if z.shape != y.shape or not np.issubdtype(z.dtype, np.integer):
        raise ValueError(f"expected integer source labels [{len(y)}], got {z.dtype} of shape {z.shape}")
    (_, z), joint = np.unique(np.stack([y, z]), axis=1, return_counts=True)
    _, numbers = np.unique(z, return_inverse=True)
    marginal = np.bincount(numbers, weights=joint)[numbers]
    return float((joint / len(y) * np.log(joint / marginal)).sum())


def hscore(features: ArrayLike, labels: ArrayLike) -> float:
    """Return the H-score: the variance between classes after whitening, tr(pinv(cov X) cov(E[X | y])) (Bao et al. 2212.10082).

    Directions with an eigenvalue of cov X below max(N, d) x machine epsilon x the largest count as absent (the authors' 1e-15
    keeps rounding noise). With N - 1 <= rank, as for N <= d, it is K - 1 for any labels, so it is informative only for N well
    above d. The shrunk version (2110.06893) is not implemented.

    Args:
        features: features [N, d].
        labels: integer labels [N].

    Returns:
        The score in [0, min(K - 1, rank)].

    Raises:
        ValueError: the input is invalid, or all features are equal.
    """
    data = labelled(features, labels)
    centre = data.x.mean(axis=0)
    _, sigma, vt = _reduced_svd(data.x - centre)
    if not len(sigma):
        raise ValueError("all features are the same")
    whitened = (data.means - centre) @ (vt / sigma[:, None]).T
    return float((data.counts @ (whitened**2)).sum())


def transrate(features: ArrayLike, labels: ArrayLike, epsilon: float = 1e-4, weighted: bool = False) -> float:
    """Return TransRate: the coding rate of all features minus the mean coding rate within classes (Huang et al. 2106.09362).

        R(Z) = 1/2 log det(I + Z' Z / (n epsilon)), Z [n, d] centred by the mean of all;  R(Z) - mean over classes of R(Z_c)

    The score grows with the scale of the features, so always pass unit features.

    Args:
        features: unit features [N, d].
        labels: integer labels [N].
        epsilon: distortion, positive.
        weighted: weight classes by their share of the images, which makes the score a bound on mutual information and never
            negative. By default classes weigh equally, as in the published code.

    Raises:
        ValueError: the input is invalid, or epsilon is not positive.
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    data = labelled(features, labels)
    z = data.x - data.x.mean(axis=0)
    rates = np.array([_coding_rate(z[data.y == c], epsilon) for c in range(len(data.counts))])
    return _coding_rate(z, epsilon) - float(np.average(rates, weights=data.counts if weighted else None))


def gbc(
    features: ArrayLike, labels: ArrayLike, covariance: Literal["spherical", "diagonal"] = "spherical", floor: float = 1e-4
) -> float:
    """Return GBC: minus the Bhattacharyya overlap of Gaussians of the classes, over ordered pairs (Pandy et al. 2111.12780).

        D(a, b) = 1/8 sum_k (mu_ak - mu_bk)^2 / v_k + 1/2 sum_k log(v_k / sqrt(v_ak v_bk)),  v = (v_a + v_b) / 2
        GBC     = - sum over a != b of exp(-D(a, b)),  in [-K (K - 1), 0]

    The variances [K, d] are those of the class, at least `floor` in each dimension. A class of one image has the floor. The
    paper first reduces the features to 64 dimensions by PCA. Here they are used unchanged, as by IIMM's authors. Their
    spherical code counts the logarithm once instead of d times, so do not compare values with theirs.

    Args:
        features: features [N, d].
        labels: integer labels [N].
        covariance: "spherical" (variances are replaced by their mean over dimensions) or "diagonal".
        floor: smallest variance.

    Raises:
        ValueError: the input or `covariance` is invalid.
    """
    if covariance not in ("spherical", "diagonal"):
        raise ValueError(f"covariance must be 'spherical' or 'diagonal', got {covariance!r}")
    data = labelled(features, labels)
    means = data.means
    squares = np.zeros_like(means)
    np.add.at(squares, data.y, (data.x - means[data.y]) ** 2)
    variances = np.maximum(squares / data.counts[:, None], floor)
    if covariance == "spherical":
        variances[:] = variances.mean(axis=1, keepdims=True)
    logs = np.log(variances).sum(axis=1)
    total = 0.0
    for a in range(len(means)):
        v = (variances + variances[a]) / 2
        distance = ((means - means[a]) ** 2 / v).sum(axis=1) / 8 + (np.log(v).sum(axis=1) - (logs + logs[a]) / 2) / 2
        # The class with itself is at distance 0.
        total += np.exp(-distance).sum() - 1
    return -float(total)


def _reduced_svd(x: Floats) -> tuple[Floats, Floats, Floats]:
    """Return left vectors [N, r], singular values [r] and right vectors [r, d], without those that are rounding noise."""
    u, sigma, vt = linalg.svd(x, full_matrices=False)
    significant = sigma > sigma[0] * max(x.shape) * np.finfo(np.float64).eps
    return u[:, significant], sigma[significant], vt[significant]


def _coding_rate(z: Floats, epsilon: float) -> float:
    """Return 1/2 log det(I + z' z / (n epsilon)), computed from the smaller of the two Gram matrices."""
    n, d = z.shape
    gram = z.T @ z if d <= n else z @ z.T
    return float(np.linalg.slogdet(np.eye(len(gram)) + gram / (n * epsilon))[1]) / 2
