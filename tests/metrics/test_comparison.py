"""Paired comparisons: exact values where all resamples can be listed, and coverage of the intervals."""

import itertools

import numpy as np
import pytest
from scipy import stats

from metrics.comparison import interval, paired, resampled


def test_means_records_and_verdicts_by_hand():
    a, b = [[10, 20, 30], [12, 20, 33]], [[8, 20, 31], [7, 19, 30]]
    result = paired(a, b)
    assert result.mean_a == pytest.approx(125 / 6) and result.mean_b == pytest.approx(115 / 6)
    assert result.difference == pytest.approx(10 / 6) and result.low < result.difference < result.high
    assert (result.wins, result.ties, result.losses, result.seeds, result.tasks) == (4, 1, 1, 2, 3)
    less = paired(a, b, more_is_better=False)
    assert (less.wins, less.ties, less.losses) == (1, 1, 4) and less[:5] == result[:5]
    weighted = paired(a, b, [1, 0, 3])
    assert weighted.difference == pytest.approx((7 / 2 + 3 * 2 / 2) / 4) and weighted.tasks == 2


def test_b_against_a_is_the_mirror_image():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 6))
    one, other = paired(a, b), paired(b, a)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.wins, one.losses) == (other.losses, other.wins)


def test_a_verdict_is_an_interval_without_zero():
    a = np.array([[5.0, 6, 7, 8, 9, 6]])
    assert paired(a, a - 5 + 0.1 * np.arange(6)).verdict() == "A better"
    assert paired(a - 5 + 0.1 * np.arange(6), a).verdict() == "B better"
    assert paired(a, a - 5 + 0.1 * np.arange(6)).verdict(more_is_better=False) == "B better"
    assert paired(a, a[:, ::-1]).verdict() == "no difference shown"
    same = paired(a, a + 1e-14)
    assert (same.low, same.high, same.ties) == (0, 0, 6) and same.verdict() == "no difference shown"


def test_the_interval_of_one_seed_is_students():
    """Over n tasks of equal weight the bootstrap variance is (n - 1) / n of s^2 / n, and the interval corrects for it."""
    d = np.array([[3.0, -1.0, 4.0, 1.5, 9.0]])
    reference = stats.t.interval(0.95, 4, d.mean(), d.std(ddof=1) / 5**0.5)
    assert interval(d, np.ones(5)) == pytest.approx(reference, rel=0.03)
    assert interval(d.T, np.ones(1)) == pytest.approx(reference, rel=0.03)


def test_two_tasks_that_disagree_show_nothing():
    """Resamples of 0 and 4 have the means 0, 2, 2, 4: standard error sqrt(2), widened by sqrt(2), times t_1 = 12.706."""
    assert interval([[0.0, 4.0]], [1, 1]) == pytest.approx((2 - 25.412, 2 + 25.412), rel=0.05)


def test_resamples_are_those_that_can_be_written_down():
    d, w = np.array([[1.0, 5.0], [2.0, -4.0]]), np.array([0.25, 0.75])
    every = [
        np.mean([sum(w[t] * d[s, t] for t in tasks) / sum(w[t] for t in tasks) for s in seeds])
        for seeds in itertools.product(range(2), repeat=2)
        for tasks in itertools.product(range(2), repeat=2)
    ]
    draws = resampled(d, w, 40_000, seed=0)
    values, counts = np.unique(draws.round(9), return_counts=True)
    exact, times = np.unique(np.round(every, 9), return_counts=True)
    assert values == pytest.approx(exact)
    assert counts / 40_000 == pytest.approx(times / 16, abs=0.01)
    assert (resampled(d, w, 100, seed=3) == resampled(d, w, 100, seed=3)).all()


def test_one_number_has_no_interval_and_no_verdict():
    result = paired([[9.0]], [[1.0]])
    assert result.difference == 8 and np.isnan(result.low) and np.isnan(result.high)
    assert result.verdict() == "no difference shown"


@pytest.mark.parametrize(
    ("seeds", "tasks", "of_seed", "of_task", "of_pair", "most"),
    [(1, 5, 0, 1, 0, 0.98), (1, 8, 0, 1, 0, 0.98), (3, 8, 0.1, 1, 0.3, 0.98), (5, 5, 1, 1, 0.5, 0.98), (3, 8, 0, 0, 1, 1)],
)
def test_coverage(seeds, tasks, of_seed, of_task, of_pair, most):
    """For differences with expectation 0, 95 % intervals contain 0 about that often, and more often if pairs are pure noise."""
    generator, trials, held = np.random.default_rng(1), 400, 0
    for _ in range(trials):
        d = of_seed * generator.normal(size=(seeds, 1)) + of_task * generator.normal(size=tasks)
        low, high = interval(d + of_pair * generator.normal(size=(seeds, tasks)), np.ones(tasks), resamples=500)
        held += low <= 0 <= high
    assert 0.92 <= held / trials <= most


def test_coverage_with_unequal_weights():
    generator, weights, held = np.random.default_rng(2), np.array([1, 1, 2, 2, 3, 3, 4, 8, 8, 8]), 0
    for _ in range(400):
        low, high = interval(generator.normal(size=(1, 10)), weights, resamples=500)
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_errors():
    with pytest.raises(ValueError, match=r"shapes \(1, 2\) and \(1, 3\)"):
        paired([[1, 2]], [[1, 2, 3]])
    with pytest.raises(ValueError, match="finite"):
        paired([[1, float("nan")]], [[1, 2]])
    with pytest.raises(ValueError, match="nothing to compare"):
        paired([[1, 2]], [[1, 2]], [0, 0])
