"""Linear CKA against the N x N form, and its invariances."""

import numpy as np
import pytest

from metrics.cka import debiased_cka, linear_cka


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)) + 3
    return x, x @ rng.normal(size=(5, 7)) + rng.normal(size=(30, 7))


def by_kernels(x, y):
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with linear kernels and the centring matrix."""
    h = np.eye(len(x)) - 1 / len(x)
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h  # noqa: E741
    return np.trace(k @ l) / np.sqrt(np.trace(k @ k) * np.trace(l @ l))


def test_against_kernels(drawn):
    x, y = drawn
    assert linear_cka(x, y) == pytest.approx(by_kernels(x, y), abs=1e-12)
    assert 0 < linear_cka(x, y) < 1


def test_invariances(drawn):
    x, y = drawn
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    assert linear_cka(x, 1e-200 * x @ rotation + 4e-200) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x), abs=1e-14)


def test_unrelated_directions_are_0():
    assert linear_cka([[1.0], [-1], [1], [-1]], [[1.0], [1], [-1], [-1]]) == 0


def test_errors(drawn):
    x, y = drawn
    for a, b, message in [
        (x, y[:9], "30 and 9 images"),
        (x[:1], y[:1], "at least 2 images"),
        (x[0], y, "expected first"),
        (x, y * np.nan, "second features contain NaN"),
        (x * 0, y, "first features are the same"),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_cka(a, b)


def unbiased_hsic(k, l):  # noqa: E741
    """Song et al. 2012, equation 5, entry by entry: means over pairs, triples and quadruples of different images."""
    n = len(k)
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))  # noqa: E741
    one = np.ones(n)
    terms = np.trace(k @ l) + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l @ one
    return terms / (n * (n - 3))


def test_debiased_against_kernels(drawn):
    x, y = drawn
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = unbiased_hsic(k, l) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(l, l))
    assert debiased_cka(x, y) == pytest.approx(expected, abs=1e-12) and 0 < expected < 1
    assert debiased_cka(x, 3 * x + 1) == pytest.approx(1, abs=1e-12)


def test_wide_unrelated_features_are_alike_only_with_the_bias():
    """20 images in 60 dimensions: the estimate with the bias is far above 0."""
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(size=(20, 60)), rng.normal(size=(20, 60))) for _ in range(30)]
    assert np.mean([linear_cka(x, y) for x, y in pairs]) > 0.6
    assert abs(np.mean([debiased_cka(x, y) for x, y in pairs])) < 0.05


def test_debiased_errors(drawn):
    x, y = drawn
    for a, b, message in [
        (x, y[:9], "30 and 9 images"),
        (x[:3], y[:3], "at least 4 images, got 3"),
        (np.eye(4), np.eye(4), "vary too little"),
    ]:
        with pytest.raises(ValueError, match=message):
            debiased_cka(a, b)
