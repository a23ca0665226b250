"""Accuracies with their interval."""

import math

import pytest

from metrics.evaluate import Accuracy


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (5, 5), (7, 10), (630, 1000)])
def test_wilsons_interval_by_its_formula(correct, n):
    z, p = 1.959963984540054, correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = Accuracy(correct, n).interval()
    assert (low, high) == (pytest.approx(100 * (centre - reach), abs=1e-9), pytest.approx(100 * (centre + reach), abs=1e-9))
    assert 0 <= low <= 100 * p <= high <= 100


def test_of_no_images():
    assert all(math.isnan(end) for end in (*Accuracy(0, 0).interval(), Accuracy(0, 0).percent))


def test_another_level():
    wide, narrow = (Accuracy(7, 10).interval(level) for level in (0.99, 0.8))
    assert wide[0] < narrow[0] < 70 < narrow[1] < wide[1]
