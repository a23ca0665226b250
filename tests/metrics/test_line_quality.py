"""Intervals of R2 and tau against published formulas and simulations, left-out R2 and Cook's distance against refitting."""

import math

import numpy as np
import pytest
from scipy import stats

from metrics.line_quality import (
    cooks_distance,
    explained,
    fisher,
    kendall_interval,
    left_out_r2,
    most_influential,
    signed_r2,
)

X = np.array([0.1, 0.2, 0.35, 0.4, 0.62, 0.7, 0.9, 1.5])
Y = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0])


def test_the_interval_of_r2_is_that_of_scipys_correlation():
    result = stats.pearsonr(X, Y)
    low, high = result.confidence_interval(0.95)
    assert signed_r2(X, Y) == pytest.approx((result.statistic**2, low * abs(low), high**2))
    assert signed_r2(X, -Y) == pytest.approx((-(result.statistic**2), -(high**2), -low * abs(low)))


def test_a_published_interval():
    """With nine tasks, an R2 of .92 has the interval .66 to .98."""
    r, low, high = fisher(0.92**0.5, 6**-0.5)
    assert (r**2, low**2, high**2) == pytest.approx((0.92, 0.66, 0.98), abs=0.005)


def test_the_ends_of_the_range():
    assert fisher(1.0, 0.3) == (1, 1, 1) and fisher(-1.0, 0.3) == (-1, -1, -1)
    assert math.isnan(signed_r2([1, 2, 3], [1, 2, 4]).low) and math.isnan(kendall_interval(0.5, 4).high)
    assert math.isnan(signed_r2(X, np.ones(8)).value)
    with pytest.raises(ValueError, match="in \\[-1, 1\\]"):
        fisher(1.2, 0.1)


def test_the_interval_of_tau_covers_the_true_tau():
    """With a normal distribution of correlation rho, tau is 2 asin(rho) / pi."""
    generator, rho, n = np.random.default_rng(3), 0.6, 25
    x, noise = generator.normal(size=(2, 120, n))
    y = rho * x + (1 - rho**2) ** 0.5 * noise
    intervals = [kendall_interval(stats.kendalltau(a, b).statistic, n) for a, b in zip(x, y, strict=True)]
    covered = np.mean([low <= 2 * np.arcsin(rho) / np.pi <= high for _, low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.05)


def test_left_out_r2_by_refitting():
    errors, of_mean = [], []
    for i in range(len(X)):
        x, y = np.delete(X, i), np.delete(Y, i)
        slope, intercept = np.polyfit(x, y, 1)
        errors.append(Y[i] - intercept - slope * X[i])
        of_mean.append(Y[i] - y.mean())
    assert left_out_r2(X, Y) == pytest.approx(1 - np.square(errors).sum() / np.square(of_mean).sum())
    assert left_out_r2(X, 2 * X + 1) == pytest.approx(1) and math.isnan(explained([1.0], [0.0]))


def test_cooks_distance_is_the_squared_change_of_the_fitted_values():
    slope, intercept = np.polyfit(X, Y, 1)
    fitted = intercept + slope * X
    s2 = ((Y - fitted) ** 2).sum() / (len(X) - 2)
    expected = []
    for i in range(len(X)):
        slope, intercept = np.polyfit(np.delete(X, i), np.delete(Y, i), 1)
        expected.append(((fitted - intercept - slope * X) ** 2).sum() / (2 * s2))
    assert cooks_distance(X, Y) == pytest.approx(expected)
    assert list(most_influential(X, Y)) == list(np.argsort(expected)[::-1][:2])


def test_a_task_that_decides_the_slope_is_the_most_influential():
    x, y = np.array([1.0, 1.0, 1.0, 5.0]), np.array([2.0, 3.0, 4.0, 9.0])
    assert cooks_distance(x, y)[3] == np.inf and most_influential(x, y)[0] == 3
