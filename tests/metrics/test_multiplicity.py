"""Corrections for several tests: Holm by hand, and the permutation maximum against enumeration and its level."""

from itertools import permutations

import numpy as np
import pytest

from metrics.multiplicity import correlations, holm, permutation_maximum


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, np.nan, 0.4]) == pytest.approx([0.8, np.nan, 0.8], nan_ok=True)
    assert holm([]).shape == (0,) and np.isnan(holm([np.nan])).all()
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        holm([1.2])


def test_correlations_use_the_tasks_with_both_values():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(9, 2)), generator.normal(size=(9, 3))
    x[0, 0] = y[4, 2] = np.nan
    result = correlations(x, y)
    both = [i for i in range(9) if i not in (0, 4)]
    assert result[0, 2] == pytest.approx(np.corrcoef(x[both, 0], y[both, 2])[0, 1])
    assert result[1, 1] == pytest.approx(np.corrcoef(x[:, 1], y[:, 1])[0, 1])
    assert np.isnan(correlations(np.ones((5, 1)), y[:5])).all()


def test_the_permutation_maximum_by_enumeration():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(5, 2)), generator.normal(size=(5, 2))
    r = np.abs(np.corrcoef(x.T, y.T)[:2, 2:])
    largest = np.array([np.abs(np.corrcoef(x.T, y[list(order)].T)[:2, 2:]).max() for order in permutations(range(5))])
    expected = (largest[:, None, None] >= r - 1e-9).mean(axis=0)
    [result] = permutation_maximum([(x, y)], shuffles=4000)
    assert result == pytest.approx(expected, abs=0.03)


def test_all_blocks_move_together():
    """With one block twice, the maximum is that of one block."""
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(8, 1)), generator.normal(size=(8, 1))
    [single] = permutation_maximum([(x, y)], shuffles=500)
    twice = permutation_maximum([(x, y), (x, -2 * y)], shuffles=500)
    assert [p.item() for p in twice] == [single.item()] * 2
    other = permutation_maximum([(x, y), (generator.normal(size=(8, 6)), y)], shuffles=500)
    assert other[0].item() > single.item()


def test_the_level_holds_over_all_lines():
    generator = np.random.default_rng(3)
    small = [
        permutation_maximum([(generator.normal(size=(10, 4)), generator.normal(size=(10, 3)))], 199)[0].min() <= 0.05
        for _ in range(80)
    ]
    assert np.mean(small) == pytest.approx(0.05, abs=0.05)


def test_a_strong_line_is_found_and_an_undefined_one_is_nan():
    x = np.arange(12.0)[:, None]
    y = np.column_stack([x[:, 0] ** 1.1, np.ones(12)])
    [result] = permutation_maximum([(x, y)], shuffles=999)
    assert result[0, 0] == pytest.approx(0.001) and np.isnan(result[0, 1])
    with pytest.raises(ValueError, match="same tasks"):
        permutation_maximum([(x, y[:5])])
