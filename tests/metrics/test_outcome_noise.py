"""The noise of outcomes against simulated test sets, and reliabilities by hand."""

import math

import numpy as np
import pytest

from metrics.outcome_noise import (
    accuracy_noise,
    forgetting_noise,
    gain_noise,
    gain_over_error_noise,
    reliability,
)


def test_most_noise_is_the_variance_with_independent_errors():
    generator, n = np.random.default_rng(0), 400
    before, after = (100 * generator.binomial(n, p, size=40_000) / n for p in (0.4, 0.7))
    assert accuracy_noise(40, n) == pytest.approx(before.var(), rel=0.03)
    assert gain_noise(40, 70, n).most == pytest.approx((after - before).var(), rel=0.03)
    shares = 100 * (after - before) / (100 - before)
    assert gain_over_error_noise(40, 70, n).most == pytest.approx(shares.var(), rel=0.05)


def test_least_noise_is_the_variance_with_changes_in_one_direction():
    """Of n images, 40 % are right before and after, 30 % become right, and the rest stay wrong."""
    generator, n = np.random.default_rng(1), 400
    right, gained, _ = generator.multinomial(n, [0.4, 0.3, 0.3], size=40_000).T
    assert gain_noise(40, 70, n).least == pytest.approx((100 * gained / n).var(), rel=0.03)
    shares = 100 * gained / (n - right)
    assert gain_over_error_noise(40, 70, n).least == pytest.approx(shares.var(), rel=0.05)


def test_forgetting_is_a_mean_over_tasks():
    single = gain_noise([50, 90], [40, 90], [100, 200])
    result = forgetting_noise([50, 90], [40, 90], [100, 200])
    assert (result.least, result.most) == pytest.approx((single.least.sum() / 4, single.most.sum() / 4))
    assert single.least.tolist() == [9, 0]


def test_undefined_noise():
    assert math.isnan(gain_over_error_noise(100, 90, 50).most) and accuracy_noise(100, 50) == 0
    assert gain_over_error_noise(95, 80, 50).least == 0
    with pytest.raises(ValueError, match="positive"):
        accuracy_noise(50, 0)
    with pytest.raises(ValueError, match="in \\[0, 100\\]"):
        gain_noise(50, 101, 9)


def test_reliability_by_hand():
    result = reliability([0, 10, 20], [8, 9, 10], between_seeds=6, seeds=3)
    assert result == pytest.approx((1 - 11 / 100, 11, 100)) and result.corrected(0.445) == pytest.approx(0.5)
    assert result.corrected(0.95) == 1
    nothing = reliability([1, 2, 3], [5, 5, 5])
    assert nothing.value == 0 and math.isnan(nothing.corrected(0.5))
    with pytest.raises(ValueError, match="at least 3 tasks"):
        reliability([1, 2], [1, 1])


def test_the_corrected_r2_is_that_without_noise():
    """Ten thousand tasks whose outcome is known without noise."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=10_000)
    true = np.clip(60 + 8 * x + 8 * generator.normal(size=10_000), 1, 99)
    seen = 100 * generator.binomial(100, true / 100) / 100
    r2 = np.corrcoef(x, seen)[0, 1] ** 2
    without = np.corrcoef(x, true)[0, 1] ** 2
    assert r2 < without - 0.05 and reliability(seen, accuracy_noise(seen, 100)).corrected(r2) == pytest.approx(
        without, abs=0.02
    )
