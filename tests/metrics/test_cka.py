"""Linear CKA against the N x N form, and its invariances."""

import numpy as np
import pytest

from metrics.cka import linear_cka


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
