"""Rank correlations with intervals, against hand-made values and SciPy."""

import numpy as np
import pytest
from scipy import stats

from metrics.rank_correlation import correlation, difference, spearman


def test_by_hand():
    # Ranks 1 2 3 4 5 against 1 3 2 5 4: rho = 1 - 6 (0 + 1 + 1 + 1 + 1) / (5 x 24).
    assert spearman([1, 2, 3, 4, 5], [10, 30, 20, 50, 40]) == pytest.approx(0.8)
    assert spearman([[1, 2, 3], [1, 1, 1]], [[3, 2, 1], [1, 2, 3]]) == pytest.approx([-1, np.nan], nan_ok=True)


def test_ties_as_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.integers(4, size=(2, 20, 9))
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert spearman(x, y) == pytest.approx(expected)


def test_a_perfect_order_has_an_interval_of_one_point():
    estimate = correlation(range(8), [v**3 for v in range(8)], resamples=200)
    assert estimate == pytest.approx((1, 1, 1, 8)) and estimate.clear


def test_the_interval_is_that_of_resamples():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 8))
    chosen = np.random.default_rng(7).integers(8, size=(500, 8))
    drawn = [stats.spearmanr(x[c], y[c]).statistic for c in chosen if len(set(c)) > 1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    estimate = correlation(x, y, resamples=500, seed=7)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert estimate == correlation(x, y, resamples=500, seed=7), "the same seed gives the same interval"


def test_a_difference_sees_the_same_resamples():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 8))
    same = difference(x, x, y)
    assert same == (0, 0, 0, 8) and not same.clear
    opposite = difference(y, -y, y, resamples=200)
    assert opposite == pytest.approx((2, 2, 2, 8))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "at least 4 domains, got 3"),
        ([1, 2, 3, 4], [1, 2, 3], "must both be"),
        ([1, 2, 3, 4], [5, 5, 5, 5], "all 4 values of y are 5"),
        ([1, 2, 3, np.nan], [1, 2, 3, 4], "NaN"),
    ],
)
def test_mistakes(x, y, message):
    with pytest.raises(ValueError, match=message):
        correlation(x, y)
