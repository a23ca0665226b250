"""SFDA and NCTI, computed step by step as in their papers' code, with general eigenvectors and loops."""

import math

import numpy as np
import pytest
from scipy import linalg

from metrics.discriminant import NCTITerms, ncti, ncti_terms, sfda


def data(n=60, d=6, k=4, spread=0.5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    x = rng.normal(size=(k, d))[y] + spread * rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def shrunk(covariance, strength):
    return (1 - strength) * covariance + strength * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def posterior(x, y, within, total):
    """Class probabilities through the directions that maximise between- over within-class variance."""
    values, vectors = linalg.eigh(total - within, within)
    vectors = vectors[:, np.argsort(values)[::-1]]
    means = np.stack([x[y == c].mean(axis=0) for c in np.unique(y)])
    weights = means @ vectors @ vectors.T
    share = np.bincount(y) / len(y)
    return vectors, softmax(x @ weights.T - 0.5 * np.diag(means @ weights.T) + np.log(share))


def sfda_by_steps(x, y):
    def covariances(x):
        within = sum(np.mean(y == c) * np.cov(x[y == c].T, bias=True) for c in np.unique(y))
        return within, np.cov(x.T, bias=True)

    within, total = covariances(x)
    strength = math.exp(-5 * np.linalg.norm(within, 2))
    _, p = posterior(x, y, shrunk(within, strength), shrunk(total, strength))
    p = softmax(p)
    means = [x[y == c].mean(axis=0) for c in np.unique(y)]
    mixed = np.empty_like(x)
    for i, c in enumerate(y):
        others = np.mean([m for other, m in enumerate(means) if other != c], axis=0)
        mixed[i] = p[i, c] * x[i] + (1 - p[i, c]) * others
    within, total = covariances(mixed)
    _, p = posterior(mixed, y, shrunk(within, strength), shrunk(total, strength))
    return np.mean([p[i, c] for i, c in enumerate(y)])


def ncti_by_steps(x, y, dimensions):
    k = len(np.unique(y))
    centred = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    order = np.argsort(values)[::-1][:dimensions]
    z, strength = centred @ vectors[:, order], math.exp(-values[order][:32].sum())
    within = sum(np.mean(y == c) * shrunk(np.cov(z[y == c].T, bias=True), strength) for c in range(k))
    directions, p = posterior(z, y, within, shrunk(np.cov(z.T, bias=True), strength))
    projected = z @ directions[:, : k - 1]
    nuclear = [np.linalg.svd(p[y == c], compute_uv=False).sum() for c in range(k)]
    spread = np.linalg.svd(projected - projected.mean(axis=0), compute_uv=False).sum()
    return spread, np.mean([p[i, c] for i, c in enumerate(y)]), math.log(sum(nuclear))


@pytest.mark.parametrize("k", [2, 4])
def test_sfda(k):
    x, y = data(k=k)
    stored = x.copy()
    assert sfda(x, y) == pytest.approx(sfda_by_steps(x, y), abs=1e-10)
    assert (x == stored).all()
    # Fewer images than dimensions.
    assert sfda(*data(20, 30, k)) == pytest.approx(sfda_by_steps(*data(20, 30, k)), abs=1e-8)


def test_sfda_prefers_separated_classes():
    assert 1 >= sfda(*data(spread=0.1)) > sfda(*data(spread=0.5)) > sfda(*data(spread=2)) > 0.25


@pytest.mark.parametrize(("n", "d", "k"), [(60, 6, 4), (60, 6, 2), (300, 80, 5)])
def test_ncti_terms(n, d, k):
    x, y = data(n, d, k)
    assert ncti_terms(x, y) == pytest.approx(ncti_by_steps(x, y, min(d, 64)), abs=1e-8)


def test_ncti_terms_of_few_images():
    x, y = data(12, 40, 4)
    # Class 3 has one image, and twelve images span eleven dimensions.
    y[y == 3] = 2
    y[3] = 3
    terms = ncti_terms(x, y)
    assert all(map(math.isfinite, terms)) and 0 < terms.ncc <= 1


def test_unscaled_features():
    """With a large variance no shrinkage is left."""
    x, y = data()
    terms = ncti_terms(100 * x, y)
    assert terms.ncc > ncti_terms(x, y).ncc
    assert terms == pytest.approx(ncti_terms(200 * x, y), abs=1e-6)


def test_ncti_of_three_models():
    models = [NCTITerms(1, 0.5, 4), NCTITerms(3, 0.75, 4), NCTITerms(2, 1.0, 4)]
    assert ncti(models).tolist() == [0, 1.5, 1.5]
    models[1] = models[1]._replace(vc=6)
    assert ncti(models).tolist() == [0, 0.5, 1.5]


def test_errors():
    x, y = data()
    for score in (sfda, ncti_terms):
        with pytest.raises(ValueError, match="got 1"):
            score(x, y * 0)
        with pytest.raises(ValueError, match="NaN"):
            score(x * np.nan, y)
    with pytest.raises(ValueError, match="do not vary within"):
        sfda(np.eye(4)[y], y)
    with pytest.raises(ValueError, match="more images than classes"):
        ncti_terms(x[:4], y[:4])
    with pytest.raises(ValueError, match="features are the same"):
        ncti_terms(np.ones((60, 3)), y)
    with pytest.raises(ValueError, match="at least 2 are needed, got 1"):
        ncti([NCTITerms(1, 1, 1)])
    with pytest.raises(ValueError, match="NaN"):
        ncti([NCTITerms(1, 1, 1), NCTITerms(1, 1, math.nan)])
