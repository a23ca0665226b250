"""Lines through a handful of tasks: by hand, against scipy's regression, and refused inputs."""

import numpy as np
import pytest
from scipy import stats

from metrics.regression import fit, kendall, leave_one_out, predict


def made(n=9, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.uniform(0.3, 0.7, n)
    return x, 5 + 80 * x + generator.normal(0, 4, n)


def test_a_line_by_hand():
    # Means 2 and 8/3; slope 3/2; residuals 1/6, -1/3, 1/6, whose squares sum to 1/6.
    line = fit([1, 2, 3], [4 / 3, 7 / 3, 13 / 3])
    assert line.slope == pytest.approx(1.5)
    assert line.intercept == pytest.approx(-1 / 3)
    assert line.residual == pytest.approx((1 / 6) ** 0.5)
    assert line.r2 == pytest.approx(1 - (1 / 6) / (14 / 3))
    reach = 12.7062047364 * (1 / 6 / 2) ** 0.5
    assert (line.low, line.high) == pytest.approx((1.5 - reach, 1.5 + reach))
    # t with one degree of freedom is Cauchy's: p = 1 - 2 atan(t) / pi
    assert line.p == pytest.approx(1 - 2 * np.arctan(1.5 / (1 / 12) ** 0.5) / np.pi)
    assert (line.n, line.x_low, line.x_high) == (3, 1, 3)
    assert line.covers(3) and not line.covers(3.01) and not line.covers(0.99)


def test_a_line_agrees_with_scipy():
    x, y = made()
    line, reference = fit(x, y), stats.linregress(x, y)
    assert (line.slope, line.intercept, line.p) == pytest.approx((reference.slope, reference.intercept, reference.pvalue))
    assert line.r2 == pytest.approx(reference.rvalue**2)
    assert line.high - line.slope == pytest.approx(stats.t.ppf(0.975, 7) * reference.stderr)


def test_a_prediction_agrees_with_the_normal_equations():
    x, y = made()
    design = np.column_stack([np.ones_like(x), x])
    inverse = np.linalg.inv(design.T @ design)
    residuals = y - design @ (inverse @ design.T @ y)
    at = np.array([1, 0.9])
    half = stats.t.ppf(0.975, 7) * np.sqrt(residuals @ residuals / 7 * (1 + at @ inverse @ at))
    value = at @ inverse @ design.T @ y
    assert predict(fit(x, y), 0.9) == pytest.approx((value, value - half, value + half))


@pytest.mark.slow
def test_prediction_intervals_hold_what_they_promise():
    generator, held = np.random.default_rng(3), 0
    for _ in range(2000):
        x = generator.uniform(0, 1, 8)
        y = 2 * x + generator.normal(0, 1, 8)
        _, low, high = predict(fit(x[:-1], y[:-1]), x[-1])
        held += low <= y[-1] <= high
    assert 0.93 < held / 2000 < 0.97


def test_a_lower_level_gives_a_narrower_interval():
    x, y = made()
    wide, narrow = predict(fit(x, y), 0.5), predict(fit(x, y, level=0.5), 0.5)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high


def test_points_on_a_line_leave_no_doubt():
    line = fit([0, 1, 2, 4], [1, 3, 5, 9])
    assert (line.slope, line.intercept, line.r2, line.p) == (2, 1, 1, 0)
    assert predict(line, 3) == (7, 7, 7)


def test_a_constant_outcome_is_a_flat_line_without_r2():
    line = fit([0.1, 0.2, 0.4], [0.1 + 0.2, 0.3, 0.3])
    assert line.slope == 0 and line.intercept == pytest.approx(0.3)
    assert np.isnan(line.r2) and np.isnan(line.p)


def test_errors_of_left_out_tasks_agree_with_the_closed_form():
    x, y = made()
    line = fit(x, y)
    leverage = 1 / len(x) + (x - x.mean()) ** 2 / line.x_squares
    expected = (y - line.intercept - line.slope * x) / (1 - leverage)
    np.testing.assert_allclose(leave_one_out(x, y), expected)


def test_kendall_by_hand():
    # Ten pairs; discordant: (2, 3) and (4, 5) by rank of x.
    tau, p, n = kendall([1, 2, 3, 4, 5], [10, 30, 20, 50, 40])
    assert tau == pytest.approx((8 - 2) / 10)
    # 1 + 4 + 9 = 14 of the 120 orders have two or fewer discordant pairs, 14 as many concordant ones.
    assert p == pytest.approx(28 / 120)
    assert n == 5


def test_kendall_counts_ties_as_tau_b():
    # x: one tie among 6 pairs; concordant 4, discordant 1.
    assert kendall([1, 1, 2, 3], [1, 2, 4, 3]).tau == pytest.approx((4 - 1) / (5 * 6) ** 0.5)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 2], [1, 2], "at least 3 tasks, got 2"),
        ([], [], "at least 3 tasks, got 0"),
        ([2, 2, 2], [1, 2, 3], "all 3 values of x are 2"),
        ([0.1 + 0.2, 0.3, 0.3], [1, 2, 3], "all 3 values of x are 0.3"),
        ([1, np.nan, 3], [1, 2, 3], "1 of 3 tasks have NaN"),
        ([1, 2, 3], [1, np.inf, np.nan], "2 of 3 tasks have NaN or infinity"),
        ([1, 2, 3], [1, 2], r"both be \[n\]"),
        ([[1, 2, 3]], [[1, 2, 3]], r"both be \[n\]"),
    ],
)
def test_what_no_line_goes_through_is_refused(x, y, reason):
    with pytest.raises(ValueError, match=reason):
        fit(x, y)


def test_a_level_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        fit([1, 2, 3], [1, 2, 3.1], level=95)


@pytest.mark.parametrize("x", [np.nan, np.inf])
def test_nothing_is_predicted_at_no_number(x):
    with pytest.raises(ValueError, match="nothing can be predicted"):
        predict(fit([1, 2, 3], [1, 2, 3.1]), x)


def test_leaving_one_out_needs_three_others_that_differ():
    with pytest.raises(ValueError, match="at least 4 tasks, got 3"):
        leave_one_out([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="without task 2 of 4, all 3 values of x are 1"):
        leave_one_out([1, 5, 1, 1], [1, 2, 3, 4])


@pytest.mark.parametrize(("x", "y", "reason"), [([1, 1, 1], [1, 2, 3], "of x are 1"), ([1, 2, 3], [7, 7, 7], "of y are 7")])
def test_constants_have_no_order(x, y, reason):
    with pytest.raises(ValueError, match=reason):
        kendall(x, y)
