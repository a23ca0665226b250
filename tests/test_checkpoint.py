"""Checkpoints: tensors and plain values, whole or not counted."""

import pytest
import torch

from harness import checkpoint
from models.registry import UserError


def test_round_trip(tmp_path):
    shared = torch.arange(6.0)
    weights = {"a": shared, "b": shared, "c": shared.view(2, 3).T}
    state = {
        "step": 3,
        "rate": 0.5,
        "name": "x",
        "none": None,
        "flag": True,
        "nested": {"list": [1, {"t": torch.ones(2)}]},
    }
    checkpoint.save_state(tmp_path, 2, weights, state)
    assert checkpoint.latest(tmp_path) is None, "not before it is committed"
    checkpoint.commit(tmp_path, 2, images=7)
    assert checkpoint.latest(tmp_path) == {"after": 2, "images": 7}
    loaded, restored = checkpoint.load_state(tmp_path, 2)
    for name, tensor in weights.items():
        assert torch.equal(loaded[name], tensor)
    assert torch.equal(restored["nested"]["list"][1].pop("t"), torch.ones(2))
    state["nested"]["list"][1] = {}
    assert restored == state


def test_everything_comes_back_on_the_device_asked_for(tmp_path):
    checkpoint.save_state(tmp_path, 0, {"a": torch.ones(2)}, {"t": [torch.ones(1)]})
    weights, state = checkpoint.load_state(tmp_path, 0, torch.device("meta"))
    assert weights["a"].device.type == state["t"][0].device.type == "meta"


def test_committing_removes_the_older_ones(tmp_path):
    for after in (0, 1):
        checkpoint.save_state(tmp_path, after, {"a": torch.zeros(1)}, {})
        checkpoint.commit(tmp_path, after)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["after-1", "latest.json"]


def test_a_failed_save_keeps_the_last_one(tmp_path):
    checkpoint.save_state(tmp_path, 0, {"a": torch.zeros(1)}, {})
    checkpoint.commit(tmp_path, 0)
    with pytest.raises(TypeError, match=r"state\.bad: .*not object"):
        checkpoint.save_state(tmp_path, 1, {"a": torch.ones(1)}, {"bad": object()})
    assert checkpoint.latest(tmp_path) == {"after": 0} and torch.equal(
        checkpoint.load_state(tmp_path, 0)[0]["a"], torch.zeros(1)
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["after-0", "latest.json"]


@pytest.mark.parametrize("name", ["encoder.safetensors", "strategy.safetensors", "strategy.json"])
def test_a_damaged_file_is_named(tmp_path, name):
    checkpoint.save_state(tmp_path, 0, {"a": torch.zeros(1)}, {})
    file = tmp_path / "after-0" / name
    file.write_bytes(file.read_bytes()[:1])
    with pytest.raises(UserError, match=f"{name} is missing or damaged"):
        checkpoint.load_state(tmp_path, 0)


def test_keys_must_be_strings(tmp_path):
    with pytest.raises(TypeError, match="must be strings"):
        checkpoint.save_state(tmp_path, 0, {}, {"a": {1: 2}})
