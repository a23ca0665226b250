"""The power of a study: against simulated studies, a double integral without noncentral t, and the usual limits."""

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.special import chdtri, ndtr, stdtrit

from metrics.power import EFFECTS, TASKS, power, power_table, smallest_effect


@pytest.mark.parametrize(("n", "r2"), [(9, 0.5), (11, 0.3), (30, 0.2)])
def test_power_is_the_share_of_simulated_studies_with_a_small_p(n, r2):
    generator = np.random.default_rng(1)
    x, noise = generator.normal(size=(2, 20_000, n))
    y = r2**0.5 * x + (1 - r2) ** 0.5 * noise
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (x, y))
    r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    t = r * np.sqrt((n - 2) / (1 - r**2))
    for tests in (1, 19):
        share = (np.abs(t) > stats.t.ppf(1 - 0.025 / tests, n - 2)).mean()
        assert power(n, r2, 0.05 / tests) == pytest.approx(share, abs=0.011)


def test_power_equals_the_double_integral_over_both_chi_squares():
    nodes, weights = leggauss(200)
    u, weights = (nodes + 1) / 2, weights / 2
    for n in (4, 11, 200):
        for r2 in (0, 0.1, 0.9, 0.9999):
            for level in (0.05, 0.05 / 300):
                delta = np.sqrt(chdtri(n - 1, u) * r2 / (1 - r2))[:, None]
                scaled = stdtrit(n - 2, 1 - level / 2) * np.sqrt(chdtri(n - 2, u) / (n - 2))
                expected = weights @ (ndtr(delta - scaled) + ndtr(-delta - scaled)) @ weights
                assert power(n, r2, level) == pytest.approx(expected, abs=4e-4)


def test_without_an_effect_the_power_is_the_level():
    assert power(11, 0, 0.05) == pytest.approx(0.05) and power(30, 0, 0.001) == pytest.approx(0.001)


def test_the_smallest_effect_has_the_wanted_power():
    found = smallest_effect(30)
    assert power(30, found) >= 0.8 > power(30, found - 0.001) and found == pytest.approx(0.236, abs=0.001)
    assert smallest_effect(30, wanted=0.5) < found < smallest_effect(11)


def test_the_table_of_the_study():
    table = power_table(TASKS, 19)
    assert [row.n for row in table] == [9, 11, 24, 30] and len(table[0].plain) == len(EFFECTS)
    for row in table:
        assert all(corrected <= plain for corrected, plain in zip(row.holm, row.plain, strict=True))
        assert row.holm[2] == power(row.n, EFFECTS[2], 0.05 / 19) and row.smallest_holm > row.smallest


@pytest.mark.parametrize(("n", "r2", "level"), [(3, 0.5, 0.05), (9, 1.0, 0.05), (9, -0.1, 0.05), (9, 0.5, 0)])
def test_values_out_of_range_are_refused(n, r2, level):
    with pytest.raises(ValueError, match=r"at least 4 tasks|must be in"):
        power(n, r2, level)


def test_no_tests_and_no_power_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        power_table((9,), 0)
    with pytest.raises(ValueError, match="wanted power"):
        smallest_effect(9, wanted=0.01)
