"""LogME, LEEP, NCE, H-score, TransRate and GBC against independently written formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from metrics.transferability import gbc, hscore, leep, logme, nce, transrate


def data(n=60, d=6, k=4, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    return centres[y] + spread * rng.normal(size=(n, d)), y


def one_hot(y):
    return (np.unique(y)[:, None] == y).astype(float)


def evidence_by_determinants(x, v):
    """Max over log alpha, log beta of the density of v under N(0, I / beta + x x' / alpha), per image."""

    def negative(p):
        covariance = np.eye(len(v)) * math.exp(-p[1]) + x @ x.T * math.exp(-p[0])
        return -stats.multivariate_normal.logpdf(v, np.zeros(len(v)), covariance, allow_singular=True)

    result = optimize.minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
    return -result.fun / len(v)


def evidence_by_fixed_point(x, v):
    """The papers' iteration, in the space of the weights, until it converges."""
    n, d = x.shape
    alpha = beta = 1.0
    for _ in range(5000):
        a = alpha * np.eye(d) + beta * x.T @ x
        m = beta * np.linalg.solve(a, x.T @ v)
        gamma = d - alpha * np.trace(np.linalg.inv(a))
        alpha, beta = gamma / (m @ m), (n - gamma) / ((v - x @ m) @ (v - x @ m))
    a = alpha * np.eye(d) + beta * x.T @ x
    m = beta * np.linalg.solve(a, x.T @ v)
    fit = beta / 2 * ((v - x @ m) @ (v - x @ m)) + alpha / 2 * (m @ m)
    log_det = np.linalg.slogdet(a)[1]
    return (d / 2 * math.log(alpha) + n / 2 * math.log(beta / 2 / math.pi) - fit - log_det / 2) / n


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 200])
def test_logme(n):
    x, y = data(n)
    by_fixed_point = np.mean([evidence_by_fixed_point(x, v) for v in one_hot(y)])
    assert logme(x, y) == pytest.approx(by_fixed_point, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 20)])
def test_logme_by_determinants(n, d):
    x, y = data(n, d, k=3)
    by_determinants = np.mean([evidence_by_determinants(x, v) for v in one_hot(y)])
    assert logme(x, y) == pytest.approx(by_determinants, abs=1e-6)


def test_logme_prefers_separated_classes_and_knows_its_limits():
    assert logme(*data(spread=0.2)) > logme(*data(spread=1)) > logme(*data(spread=5))
    y = np.array([0, 1] * 20)
    # Uninformative features: the evidence of pure noise around 0, with variance 1/2.
    assert logme(np.tile([[1.0], [1], [-1], [-1]], (10, 1)), y) == pytest.approx(-(math.log(math.pi) + 1) / 2)
    assert logme(np.eye(2)[y], y) == math.inf
    with pytest.raises(ValueError, match="zero"):
        logme(np.zeros((40, 2)), y)


def test_leep():
    rng = np.random.default_rng(0)
    theta, y = rng.dirichlet(np.ones(5), size=40), rng.integers(0, 3, 40)
    # A source class that is never predicted.
    theta = np.insert(theta, 2, 0, axis=1)
    total = 0.0
    for i in range(40):
        likelihood = 0.0
        for z in (0, 1, 3, 4, 5):
            together = sum(theta[j, z] for j in range(40) if y[j] == y[i])
            likelihood += together / sum(theta[:, z]) * theta[i, z]
        total += math.log(likelihood)
    assert leep(theta, y) == pytest.approx(total / 40, abs=1e-12)
    assert leep(np.eye(3)[y], y) == 0
    # An uninformative source: minus the entropy of the labels.
    assert leep(np.full((40, 2), 0.5), y) == pytest.approx(-stats.entropy(np.bincount(y)))


def test_nce():
    y = np.array([0, 0, 1, 1, 1, 2, 2, 2])
    z = np.array([7, 7, 7, 7, 0, 0, 0, 0])
    # Given 7: 2 of class 0, 2 of class 1. Given 0: 1 of class 1, 3 of class 2.
    expected = -(math.log(2) + stats.entropy([1, 3])) / 2
    assert nce(z, y) == pytest.approx(expected, abs=1e-12)
    assert nce(y, y) == 0
    assert nce(np.zeros(8, dtype=int), y) == pytest.approx(-stats.entropy([2, 3, 3]))
    # Hard source probabilities make LEEP the same thing.
    assert leep(np.eye(8)[z], y) == pytest.approx(expected, abs=1e-12)


def test_hscore():
    x, y = data()
    between = np.stack([x[y == c].mean(axis=0) for c in y])
    expected = np.trace(np.linalg.pinv(np.cov(x.T)) @ np.cov(between.T))
    assert hscore(x, y) == pytest.approx(expected, abs=1e-10)
    # A dimension that repeats others changes nothing, nor does any invertible linear map.
    assert hscore(np.column_stack([x, x.sum(axis=1)]), y) == pytest.approx(expected, abs=1e-9)
    assert hscore(x @ np.random.default_rng(1).normal(size=(6, 6)) + 5, y) == pytest.approx(expected, abs=1e-9)
    assert hscore(data(20, 30)[0], data(20, 30)[1]) == pytest.approx(3)
    with pytest.raises(ValueError, match="same"):
        hscore(np.ones((60, 2)), y)


@pytest.mark.parametrize("weighted", [False, True])
def test_transrate(weighted):
    # Classes of more and of fewer images than dimensions.
    x, y = data(40, 8)
    y[y == 3] = 2
    y[0], y[1] = 3, 3

    def rate(z, n):
        return sum(math.log(1 + s / (n * 1e-4)) for s in np.linalg.eigvalsh(z.T @ z)) / 2

    z = x - x.mean(axis=0)
    shares = [np.mean(y == c) if weighted else 1 / 4 for c in range(4)]
    within = sum(w * rate(z[y == c], (y == c).sum()) for c, w in enumerate(shares))
    assert transrate(x, y, weighted=weighted) == pytest.approx(rate(z, 40) - within, abs=1e-6)
    if weighted:
        assert transrate(x, np.random.default_rng(0).permutation(y), weighted=True) > 0
    with pytest.raises(ValueError, match="epsilon"):
        transrate(x, y, epsilon=0)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_gbc(covariance):
    x, y = data(40, 5)
    # A class of one image.
    y[y == 3] = 2
    y[0] = 3
    x = 0.1 * x
    total = 0.0
    for a in range(4):
        for b in range(4):
            if a == b:
                continue
            variances = [np.maximum(x[y == c].var(axis=0), 1e-4) for c in (a, b)]
            if covariance == "spherical":
                variances = [np.full(5, v.mean()) for v in variances]
            matrices = [np.diag(v) for v in variances]
            middle = (matrices[0] + matrices[1]) / 2
            gap = x[y == a].mean(axis=0) - x[y == b].mean(axis=0)
            distance = gap @ np.linalg.inv(middle) @ gap / 8
            distance += math.log(np.linalg.det(middle) / math.sqrt(np.linalg.det(matrices[0]) * np.linalg.det(matrices[1]))) / 2
            total -= math.exp(-distance)
    assert gbc(x, y, covariance) == pytest.approx(total, abs=1e-10)


def test_gbc_is_the_overlap_of_densities():
    """In one dimension the Bhattacharyya coefficient is an integral."""
    x = np.array([[-1.0], [1], [2], [6]])
    grid = np.linspace(-30, 30, 200001)
    overlap = integrate.trapezoid(np.sqrt(stats.norm.pdf(grid, 0, 1) * stats.norm.pdf(grid, 4, 2)), grid)
    assert gbc(x, [0, 0, 1, 1]) == pytest.approx(-2 * overlap, abs=1e-9)
    with pytest.raises(ValueError, match="'spherical' or 'diagonal'"):
        gbc(x, [0, 0, 1, 1], "full")


@pytest.mark.parametrize("score", [logme, hscore, transrate, gbc])
def test_tensors_gaps_in_the_labels_and_bad_input(score):
    x, y = data()
    value = score(x, y)
    assert math.isfinite(value)
    assert score(torch.tensor(x), torch.tensor(3 * y + 1)) == pytest.approx(value, abs=1e-12)
    for features, labels, message in [
        (x, y * 0, "at least 2 classes with images are needed, got 1"),
        (x[:0], y[:0], "at least 2 classes with images are needed, got 0"),
        (x * np.nan, y, "NaN"),
        (x, None, r"labels \[60\]"),
        (x, y[:9], r"labels \[60\]"),
        (x, y.astype(float), "integers"),
        (x, y - 1, "negative label -1"),
        (x[0], y, r"\[N, d\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            score(features, labels)


def test_bad_input_of_source_classifiers():
    theta, y = np.full((4, 2), 0.5), np.array([0, 0, 1, 1])
    for bad in (theta + 0.1, theta * [[3, -1]], theta * np.nan):
        with pytest.raises(ValueError, match="sum to 1"):
            leep(bad, y)
    with pytest.raises(ValueError, match=r"\[N, Z\]"):
        leep(theta[0], y)
    with pytest.raises(ValueError, match="got 1"):
        leep(theta, y * 0)
    with pytest.raises(ValueError, match="got 1"):
        nce(y, y * 0)
    with pytest.raises(ValueError, match="integer source labels"):
        nce(theta[:, 0], y)
