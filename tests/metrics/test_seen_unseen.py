"""Seen, unseen and harmonic mean of a matrix, by hand."""

import numpy as np
import pytest

from metrics.seen_unseen import seen_unseen


def test_rows_by_hand():
    rows = seen_unseen([[80, 60, 50], [85, 90, 40], [60, 80, 95]])
    assert rows.seen.tolist() == [80, 87.5, pytest.approx(235 / 3)]
    assert rows.unseen[:2].tolist() == [55, 40] and np.isnan(rows.unseen[2])
    assert rows.harmonic[:2].tolist() == [pytest.approx(2 * 80 * 55 / 135), pytest.approx(2 * 87.5 * 40 / 127.5)]
    assert np.isnan(rows.harmonic[2])


def test_both_zero_and_one_task():
    assert seen_unseen([[0, 0], [0, 0]]).harmonic[0] == 0
    assert seen_unseen([[50]]).seen.tolist() == [50] and np.isnan(seen_unseen([[50]]).unseen[0])
    with pytest.raises(ValueError, match="must be square"):
        seen_unseen([[1, 2]])
