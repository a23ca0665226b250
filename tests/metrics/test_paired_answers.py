"""The change of an accuracy between two models on the same images."""

import numpy as np
import pytest
from scipy import stats

from metrics.paired_answers import Answers, change


def test_one_run_is_walds_interval_of_the_four_cells_plus_one_half():
    result = change([Answers(gained=12, lost=4, n=98)])
    b, c, n = 12.5, 4.5, 100
    error = ((b + c) / n - ((b - c) / n) ** 2) ** 0.5 / n**0.5
    half = stats.t.ppf(0.975, 97) * error
    assert result.points == pytest.approx(100 * 8 / 98)
    assert (result.high - result.low) / 2 == pytest.approx(100 * half)
    assert result.p == pytest.approx(2 * stats.t.sf(8 / 98 / error, 97))
    assert (result.low > 0) == (result.p < 0.05)


def test_no_image_changed_is_not_certainty():
    result = change([Answers(0, 0, 100)] * 3)
    assert (result.points, result.p) == (0, 1) and result.low == -result.high and 1 < result.high < 4


def test_seeds_add_their_variance_and_do_not_divide_that_of_the_images():
    same = change([Answers(12, 4, 98)] * 3)
    one = change([Answers(12, 4, 98)])
    # Three equal runs say nothing new about other images.
    assert (same.low, same.high, same.p) == pytest.approx((one.low, one.high, one.p))
    runs = [Answers(20, 4, 98), Answers(12, 4, 98), Answers(4, 4, 98)]
    apart = change(runs)
    images = np.mean([((b + c + 1) - (b - c) ** 2 / 100) / 1e4 for b, c, _ in runs])
    seeds = np.var([16 / 98, 8 / 98, 0], ddof=1) / 3
    degrees = (images + seeds) ** 2 / (images**2 / 97 + seeds**2 / 2)
    assert apart.high - apart.points == pytest.approx(100 * stats.t.ppf(0.975, degrees) * (images + seeds) ** 0.5)


@pytest.mark.slow
def test_the_interval_contains_the_truth_in_about_95_of_100_cases():
    generator = np.random.default_rng(0)
    for rate, shift in ((0.02, 0.0), (0.1, 0.05), (0.3, -0.1)):
        hits = 0
        for _ in range(1000):
            gained, lost, _ = generator.multinomial(
                150, [rate + max(shift, 0), rate - min(shift, 0), 1 - 2 * rate - abs(shift)]
            )
            result = change([Answers(int(gained), int(lost), 150)])
            hits += result.low <= 100 * shift <= result.high
        assert 925 <= hits <= 990, (rate, shift)


@pytest.mark.parametrize("runs", [[], [(0, 0, 0)], [(3, -1, 10)], [(6, 5, 10)]])
def test_impossible_counts(runs):
    with pytest.raises(ValueError, match=r"no run|impossible counts"):
        change([Answers(*run) for run in runs])
