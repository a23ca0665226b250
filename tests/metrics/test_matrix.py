"""Transfer, Average, Last, forgetting, BWT and retention: by hand, and on the matrices that ZSCL's authors released."""

import math

import numpy as np
import pytest

from metrics.matrix import average, backward_transfer, forgetting, last, retention, transfer
from reference_data import published

R = np.array([[80.0, 40, 30], [60, 90, 20], [70, 50, 95]])


def test_by_hand():
    assert transfer(R) == pytest.approx((40 + (30 + 20) / 2) / 2)
    assert average(R) == pytest.approx((80 + 40 + 30 + 60 + 90 + 20 + 70 + 50 + 95) / 9)
    assert last(R) == pytest.approx((70 + 50 + 95) / 3)
    assert forgetting(R) == pytest.approx(((80 - 70) + (90 - 50)) / 2)
    assert backward_transfer(R) == pytest.approx(((70 - 80) + (50 - 90)) / 2)


def test_forgetting_is_from_the_best_since_training_not_before():
    early_best = np.array([[50.0, 99], [40, 60]])
    assert forgetting(early_best) == pytest.approx(50 - 40)


def test_transfer_is_a_mean_of_column_means():
    """It is not the mean of all cells above the diagonal, because the columns have different lengths."""
    assert transfer(R) != pytest.approx(np.mean([40, 30, 20]))


def test_one_task():
    assert math.isnan(transfer([[50]])) and math.isnan(forgetting([[50]])) and math.isnan(backward_transfer([[50]]))
    assert average([[50]]) == last([[50]]) == 50


@pytest.mark.parametrize("bad", [[[1, 2]], [1, 2], np.zeros((0, 0))])
def test_shape_errors(bad):
    with pytest.raises(ValueError, match=r"\[T, T\]"):
        average(bad)


def test_retention_by_hand():
    stored = retention(R, [50, 80, 40], heldout=[[10], [20], [5]], heldout0=[20])
    assert stored.rows == pytest.approx(
        [100 * np.mean([40 / 80, 30 / 40, 10 / 20]), 100 * np.mean([20 / 40, 20 / 20]), 100 * 5 / 20]
    )
    assert stored.counts.tolist() == [3, 2, 1]
    assert stored.summary == pytest.approx(stored.rows.mean())


def test_retention_leaves_out_zero_tasks_and_empty_rows():
    stored = retention(R, [50, 0, 40])
    assert stored.rows[:2] == pytest.approx([100 * 30 / 40, 100 * 20 / 40])
    assert math.isnan(stored.rows[2]) and stored.counts.tolist() == [1, 1, 0]
    assert stored.summary == pytest.approx((75 + 50) / 2)
    assert math.isnan(retention([[1.0]], [1]).summary)


def test_retention_shape_errors():
    with pytest.raises(ValueError, match="row0"):
        retention(R, [1, 2])
    with pytest.raises(ValueError, match="give both heldout and heldout0"):
        retention(R, [1, 2, 3], heldout=[[1], [2], [3]])
    with pytest.raises(ValueError, match="heldout must be"):
        retention(R, [1, 2, 3], heldout=[[1], [2]], heldout0=[1])


# Transfer, Avg, Last as the paper's tables give them (2303.06628; one or two decimals).
PUBLISHED = {
    ("I", "finetune"): (44.56, 55.85, 77.27),
    ("I", "lwf"): (56.90, 64.70, 74.64),
    ("I", "icarl"): (50.37, 65.66, 80.10),
    ("I", "lwf-vr"): (57.24, 65.13, 76.56),
    ("I", "wise-ft"): (52.33, 60.72, 77.69),
    ("I", "zscl-star"): (62.17, 72.63, 84.46),
    ("I", "zscl"): (68.14, 75.39, 83.62),
    ("II", "finetune"): (46.61, 56.17, 67.37),
    ("II", "lwf"): (53.22, 62.18, 71.91),
    ("II", "icarl"): (50.91, 56.90, 71.58),
    ("II", "lwf-vr"): (53.10, 60.59, 68.26),
    ("II", "wise-ft"): (51.04, 61.53, 72.16),
    ("II", "zscl-star"): (59.78, 71.77, 83.25),
    ("II", "zscl"): (64.15, 74.52, 83.42),
}
TEST_SIZES = dict(
    zip(published.ORDERS["I"], (3333, 1736, 10000, 1880, 5400, 6149, 25250, 10000, 3669, 8041, 21751), strict=True)
)


@pytest.mark.parametrize(("order", "strategy"), PUBLISHED)
def test_published_means(order, strategy):
    matrix = published.matrix(order, strategy)
    result = (transfer(matrix), average(matrix), last(matrix))
    assert result == pytest.approx(PUBLISHED[order, strategy], abs=0.0051)


def test_published_cells_are_counts_of_test_images():
    """Each accuracy times its test size is a whole number, so the matrices were transcribed without error."""
    for order, strategy in PUBLISHED:
        counts = published.matrix(order, strategy) / 100 * [TEST_SIZES[task] for task in published.ORDERS[order]]
        assert np.abs(counts - counts.round()).max() < 2e-4


def test_published_zero_shot():
    row = [published.ZERO_SHOT[task] for task in published.ORDERS["I"]]
    assert np.mean(row) == pytest.approx(65.3, abs=0.05)
    assert transfer(np.tile(row, (11, 1))) == pytest.approx(69.4, abs=0.05)
