"""Cosines of checkpoints, by hand."""

import pytest
import torch

from metrics.weight_cosine import weight_cosine


def state(a, b, steps=0):
    return {"a": torch.tensor(a), "b": torch.tensor([b]), "steps": torch.tensor(steps)}


def test_by_hand():
    one, two = state([3.0, 0.0], 4.0), state([0.0, 0.0], 2.0, steps=99)
    assert weight_cosine(one, two) == pytest.approx(0.8)
    assert weight_cosine(one, one) == pytest.approx(1, abs=1e-15)


def test_of_what_trainings_changed():
    origin = state([1.0, 1.0], 1.0)
    right, up, back = state([2.0, 1.0], 1.0), state([1.0, 3.0], 1.0), state([-4.0, 1.0], 1.0)
    assert weight_cosine(right, up, origin) == 0
    assert weight_cosine(right, back, origin) == -1
    assert weight_cosine(right, up) > 0.7


def test_errors():
    one = state([3.0, 0.0], 4.0)
    with pytest.raises(ValueError, match="equals the origin"):
        weight_cosine(one, state([1.0, 0.0], 0.0), one)
    with pytest.raises(ValueError, match="are zero"):
        weight_cosine(one, state([0.0, 0.0], 0.0))
    with pytest.raises(ValueError, match="NaN"):
        weight_cosine(one, state([float("nan"), 0.0], 0.0))
    with pytest.raises(ValueError, match="names"):
        weight_cosine(one, {"a": one["a"]})
    with pytest.raises(ValueError, match="shapes"):
        weight_cosine(one, one, {**one, "a": torch.zeros(3)})
