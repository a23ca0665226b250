"""Transferability scores from discriminant analysis: SFDA, and NCTI, which compares several models.

Features [N, d] and integer labels [N] are arrays or CPU tensors. All computations are in float64. Higher scores are better.
Both raise ValueError for features that are not finite, wrong shapes, or fewer than two classes with images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from metrics.labelled import Floats, Integers, Labelled, labelled


def sfda(features: ArrayLike, labels: ArrayLike) -> float:
    """Return SFDA: the mean probability of the right class after a self-challenging Fisher analysis (Shao et al. 2207.03036).

    1. Regularised Fisher discriminant analysis: S = within-class covariance (classes by their share of the images), lambda =
       exp(-5 x largest eigenvalue of S), S~ = (1 - lambda) S + lambda tr(S)/d I. The class scores of x are those of Gaussians
       with the common covariance S~: x' S~^-1 mu_c - mu_c' S~^-1 mu_c / 2 + log(share of c).
    2. Confidence mixing: p_i = softmax of the class probabilities, at the right class. Image i becomes
       p_i x_i + (1 - p_i) x the mean of the other classes' means.
    3. The analysis again, on the mixed features with the same lambda. The score is the mean probability of the right class.

    From the published code: the factor 5, the second softmax in step 2, and no logarithm in step 3. Our choices: lambda comes
    from the exact largest eigenvalue instead of three power iterations, and the input is not overwritten.

    Args:
        features: image features [N, d].
        labels: integer labels [N].

    Returns:
        The score in (0, 1].

    Raises:
        ValueError: the input is invalid, or the features do not vary within any class.
    """
    data = labelled(features, labels)
    means, share = data.means, data.counts / len(data.y)
    largest = float(linalg.eigvalsh(_within(data)).max())
    strength = max(float(np.exp(-5 * largest)), 1e-10)
    probabilities = softmax(_fisher_probabilities(data, share, strength), axis=1)
    p = _at_labels(probabilities, data.y)[:, None]
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    mixed = data._replace(x=p * data.x + (1 - p) * others[data.y])
    return float(_at_labels(_fisher_probabilities(mixed, share, strength), data.y).mean())


def _at_labels(probabilities: Floats, y: Integers) -> Floats:
    """Return the probability of the right class [N] from class probabilities [N, K]."""
    selected: Floats = probabilities[np.arange(len(y)), y]
    return selected


def _within(data: Labelled) -> Floats:
    """Return the within-class covariance [d, d], divided by N."""
    residuals = data.x - data.means[data.y]
    covariance: Floats = residuals.T @ residuals / len(data.x)
    return covariance


def _fisher_probabilities(data: Labelled, share: Floats, strength: float) -> Floats:
    """Return class probabilities [N, K] of a discriminant analysis whose covariance is shrunk by `strength`."""
    within = _within(data)
    scale = float(np.trace(within)) / len(within)
    if scale <= 0:
        raise ValueError("the features do not vary within any class")
    shrunk = (1 - strength) * within + strength * scale * np.eye(len(within))
    weights = linalg.solve(shrunk, data.means.T, assume_a="pos")
    scores = data.x @ weights - (data.means.T * weights).sum(axis=0) / 2 + np.log(share)
    probabilities: Floats = softmax(scores, axis=1)
    return probabilities


class NCTITerms(NamedTuple):
    """The three terms of one model. They are only meaningful next to the terms of other models on the same images."""

    seli: float  # spread of the classes: higher is better
    ncc: float  # nearest-centre classification: higher is better, in (0, 1]
    vc: float  # variability within the classes: lower is better


def ncti_terms(features: ArrayLike, labels: ArrayLike) -> NCTITerms:
    """Return the terms of NCTI for one model: the distance of its features from neural collapse (Wang et al., ICCV 2023).

    Features are reduced to 64 dimensions by PCA (fewer when d or N - 1 is smaller), then by scikit-learn's linear
    discriminant analysis to K - 1, with shrinkage exp(-variance explained by the first 32 components).

    - seli: nuclear norm of the centred projected features.
    - ncc: mean probability of the right class.
    - vc: log of the sum over classes of the nuclear norm of the class's probability matrix [n_c, K].

    Steps and constants are those of the published code. Two choices are ours. The smaller number of dimensions: that code fails
    there. The exact solver of PCA (`svd_solver="full"`): that code leaves the solver to scikit-learn, which takes a randomized
    one without a seed if N or d is above 500 and 64 is below 80 % of both, so its terms change from call to call. On five mini
    domains with the tiny model and five seeds, the randomized terms differ from the exact ones by at most 0.03 % (seli),
    0.004 % (ncc) and 0.001 % (vc).

    Args:
        features: image features [N, d].
        labels: integer labels [N].

    Returns:
        The three terms, for `ncti`.

    Raises:
        ValueError: the input is invalid, all features are equal, or N <= K, which leaves no variance within the classes.
    """
    data = labelled(features, labels)
    if len(data.x) <= len(data.counts):
        raise ValueError(f"more images than classes are needed, got {len(data.x)} images of {len(data.counts)} classes")
    if not np.ptp(data.x, axis=0).any():
        raise ValueError("all features are the same")
    pca = PCA(n_components=min(64, data.x.shape[1], len(data.x) - 1), svd_solver="full")
    reduced = pca.fit_transform(data.x)
    shrinkage = float(np.exp(-pca.explained_variance_[:32].sum()))
    weak = shrinkage <= 1e-10
    analysis = LinearDiscriminantAnalysis(solver="svd" if weak else "eigen", shrinkage=None if weak else shrinkage)
    with warnings.catch_warnings():
        # A class of one image has no covariance. That is intended.
        warnings.filterwarnings("ignore", message="Only one sample available")
        projected = analysis.fit_transform(reduced, data.y)
    probabilities = analysis.predict_proba(reduced)
    compactness = sum(linalg.norm(probabilities[data.y == c], "nuc") for c in range(len(data.counts)))
    return NCTITerms(
        seli=float(linalg.norm(projected - projected.mean(axis=0), "nuc")),
        ncc=float(_at_labels(probabilities, data.y).mean()),
        vc=float(np.log(compactness)),
    )


def ncti(models: Sequence[NCTITerms]) -> Floats:
    """Return the NCTI of several models on the same images: scale(seli) + scale(ncc) - scale(vc).

    `scale` maps the smallest value among the models to 0 and the largest to 1, so a score depends on which models are compared.
    A term on which all models agree adds 0.

    Args:
        models: the terms of each model, from `ncti_terms`.

    Returns:
        Scores [models] in [-1, 2].

    Raises:
        ValueError: there are fewer than two models, or terms are not finite.
    """
    terms = np.array(models, dtype=np.float64).reshape(len(models), -1)
    if len(terms) < 2:
        raise ValueError(f"NCTI compares models: at least 2 are needed, got {len(terms)}")
    if not np.isfinite(terms).all():
        raise ValueError("NCTI terms contain NaN or infinity")
    low, span = terms.min(axis=0), np.ptp(terms, axis=0)
    scores: Floats = (terms - low) / np.where(span > 0, span, 1) @ np.array([1.0, 1.0, -1.0])
    return scores
