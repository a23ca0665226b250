"""Calibration error and AUROC, against plain loops and by hand."""

import numpy as np
import pytest

from metrics.calibration import auroc, expected_calibration_error


def test_ece_is_the_weighted_gap_of_the_bins():
    generator = np.random.default_rng(0)
    confidence, correct = generator.uniform(0.01, 1, 200), generator.uniform(size=200) < 0.6
    expected = 0.0
    for low in range(15):
        inside = [i for i in range(200) if low / 15 < confidence[i] <= (low + 1) / 15]
        if inside:
            expected += len(inside) / 200 * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(100 * expected)
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert expected_calibration_error([1.0, 0.0], [False, False]) == 50
    assert np.isnan(expected_calibration_error([], []))


def test_auroc_is_the_share_of_pairs_in_order():
    generator = np.random.default_rng(1)
    positive, negative = generator.integers(0, 9, 40), generator.integers(0, 7, 30)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(100 * np.mean(pairs))
    assert auroc([2], [1]) == 100 and auroc([1], [1]) == 50
    assert np.isnan(auroc([], [1])) and np.isnan(auroc([1], []))
