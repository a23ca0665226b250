"""REML against the closed forms of balanced analyses of variance, and the mean slope over families."""

import numpy as np
import pytest
from scipy import stats

from metrics.random_effects import indicators, mean_slope, reml


def test_one_way_analysis_of_variance():
    """With q groups of m values, REML equals (MSB - MSW) / m and MSW if the first is positive."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 5)
    y = 10 + 4 * generator.normal(size=6)[groups] + generator.normal(size=30)
    means = y.reshape(6, 5).mean(axis=1)
    within = ((y.reshape(6, 5) - means[:, None]) ** 2).sum() / 24
    between = 5 * means.var(ddof=1)
    fitted = reml(y, np.ones((30, 1)), [indicators(groups)])
    assert fitted.variances[0] == pytest.approx((between - within) / 5, rel=1e-4)
    assert fitted.residual == pytest.approx(within, rel=1e-4) and fitted.n == 30
    assert (fitted.coefficients[0], fitted.errors[0]) == pytest.approx((y.mean(), (between / 30) ** 0.5), rel=1e-4)


def test_two_crossed_groups():
    """The closed form of a balanced two-way table without interaction."""
    generator = np.random.default_rng(4)
    a, b = np.repeat(np.arange(5), 7), np.tile(np.arange(7), 5)
    y = 3 * generator.normal(size=5)[a] + 2 * generator.normal(size=7)[b] + generator.normal(size=35)
    table = y.reshape(5, 7)
    rows, columns = 7 * table.mean(axis=1).var(ddof=1), 5 * table.mean(axis=0).var(ddof=1)
    rest = ((table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()) ** 2).sum() / 24
    fitted = reml(y, np.ones((35, 1)), [indicators(a), indicators(b)])
    assert fitted.variances == pytest.approx(((rows - rest) / 7, (columns - rest) / 5), rel=1e-3)
    assert fitted.residual == pytest.approx(rest, rel=1e-3)


def test_without_effects_it_is_least_squares():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(2, 9))
    fitted, expected = reml(y, np.column_stack([np.ones(9), x]), []), stats.linregress(x, y)
    assert (fitted.coefficients[1], fitted.errors[1]) == pytest.approx((expected.slope, expected.stderr))


def test_a_variance_can_be_zero():
    y = np.tile([1.0, 2.0, 4.0], 4)
    assert reml(y, np.ones((12, 1)), [indicators(np.repeat(np.arange(4), 3))]).variances[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_the_mean_slope_of_families_over_the_same_tasks():
    generator = np.random.default_rng(5)
    families, tasks = np.repeat(["a", "b", "c", "d"], 12), np.tile(np.arange(12), 4)
    z = generator.normal(size=(4, 12))
    z = ((z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, ddof=1, keepdims=True)).ravel()
    slopes = np.repeat([2.0, 3.0, 4.0, 7.0], 12)
    y = slopes * z + 5 * generator.normal(size=12)[tasks] + 0.05 * generator.normal(size=48)
    pooled = mean_slope(z, y, families, tasks)
    assert pooled.slope == pytest.approx(4, abs=0.1) and pooled.task_sd == pytest.approx(5, abs=2)
    # The slopes differ far more between families than each is uncertain.
    assert pooled.family_sd == pytest.approx(np.std([2, 3, 4, 7], ddof=1), abs=0.1)
    assert pooled.error == pytest.approx(pooled.family_sd / 2, rel=0.05) and pooled.families == 4
    assert pooled.high - pooled.slope == pytest.approx(stats.t.ppf(0.975, 3) * pooled.error)


def test_undefined_models_are_refused():
    with pytest.raises(ValueError, match="at least 2 families"):
        mean_slope([1, 2, 3], [1, 2, 4], ["a"] * 3, [1, 2, 3])
    with pytest.raises(ValueError, match="linearly independent"):
        reml([1.0, 2.0, 3.0], np.ones((3, 2)), [])
    with pytest.raises(ValueError, match="finite"):
        reml([1.0, np.nan, 3.0], np.ones((3, 1)), [])
    assert indicators(["b", "a", "b"]).tolist() == [[1, 0], [0, 1], [1, 0]]
