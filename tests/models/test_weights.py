"""Interpolation and running averages of state dicts."""

import pytest
import torch

from models.weights import RunningAverage, interpolate


def states():
    a = {"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor(3)}
    b = {"w": torch.tensor([5.0, 10.0]), "steps": torch.tensor(9)}
    return a, b


def test_interpolation_by_hand():
    a, b = states()
    mixed = interpolate(a, b, 0.25)
    assert mixed["w"].tolist() == [2.0, 4.0]
    assert mixed["steps"] == 9, "only floating tensors are mixed"


def test_ends_are_exact_copies():
    a, b = states()
    a["w"] = torch.tensor([float("inf"), 1.0])
    assert torch.equal(interpolate(a, b, 1)["w"], b["w"]), "0 * inf must not leak in"
    copy = interpolate(a, b, 0)
    assert torch.equal(copy["w"], a["w"]) and copy["steps"] == 3
    assert copy["w"].data_ptr() != a["w"].data_ptr()


def test_tied_tensors_are_mixed_once_and_stay_shared():
    one, zero = torch.ones(4), torch.zeros(4)
    mixed = interpolate({"a": zero, "b": zero}, {"a": one, "b": one}, 0.5)
    assert mixed["a"].data_ptr() == mixed["b"].data_ptr()
    assert mixed["a"].tolist() == [0.5] * 4


def test_mismatches():
    a, b = states()
    with pytest.raises(ValueError, match="differ in 1 names"):
        interpolate(a, {"w": b["w"]}, 0.5)
    with pytest.raises(ValueError, match="shapes of 'w'"):
        interpolate(a, {**b, "w": torch.zeros(3)}, 0.5)


def test_running_average_is_the_mean_of_all_states():
    values = torch.randn(12, 5, dtype=torch.float64)
    average = RunningAverage({"w": values[0], "n": torch.tensor(0)})
    for i, value in enumerate(values[1:], start=1):
        average.update({"w": value, "n": torch.tensor(i)})
    torch.testing.assert_close(average.state_dict()["w"], values.mean(0))
    assert average.count == 12 and average.state_dict()["n"] == 11
    with pytest.raises(ValueError, match="differ"):
        average.update({"w": values[0]})


def test_running_average_does_not_alias_its_input():
    weight = torch.ones(3)
    average = RunningAverage({"w": weight})
    weight.zero_()
    assert average.state_dict()["w"].tolist() == [1.0] * 3
