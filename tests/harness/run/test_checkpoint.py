"""Checkpoints hold tensors and plain values, and count only when complete."""

import pytest
import torch

from harness.run import checkpoint
from harness.run.run_files import CHECKPOINT_FILES
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


def test_files_are_as_readable_as_any_other(tmp_path):
    """Files of safetensors would be readable only by their owner."""
    (tmp_path / "any").write_text("")
    checkpoint.save_state(tmp_path, 1, {"w": torch.ones(2)}, {"t": torch.ones(1)})
    modes = {path.stat().st_mode for path in (tmp_path / "after-1").iterdir()}
    assert modes == {(tmp_path / "any").stat().st_mode} and len(list((tmp_path / "after-1").iterdir())) == 4


def test_everything_comes_back_on_the_device_asked_for(tmp_path):
    checkpoint.save_state(tmp_path, 0, {"a": torch.ones(2)}, {"t": [torch.ones(1)]})
    weights, state = checkpoint.load_state(tmp_path, 0, torch.device("meta"))
    assert weights["a"].device.type == state["t"][0].device.type == "meta"


def committed(folder, *experiences):
    for after in experiences:
        checkpoint.save_state(folder, after, {"a": torch.full((1,), float(after))}, {})
        checkpoint.commit(folder, after, images=10 * after)


def test_the_last_two_are_kept_and_the_end_keeps_one(tmp_path):
    committed(tmp_path, 0, 1, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["after-1", "after-2", "latest.json", "previous.json"]
    assert checkpoint.last_undamaged(tmp_path) == (2, {"images": 20}, None)
    checkpoint.prune(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["after-2", "latest.json"]
    assert checkpoint.last_undamaged(tmp_path).after == 2


def test_every_experience_is_kept_if_asked_for(tmp_path):
    """The checkpoint before training is not kept. A run that continues without the flag keeps only the last one."""
    for after in range(4):
        checkpoint.save_state(tmp_path, after, {"a": torch.full((1,), float(after))}, {})
        checkpoint.commit(tmp_path, after, keep_all=True)
    assert sorted(p.name for p in tmp_path.glob("after-*")) == ["after-1", "after-2", "after-3"]
    checkpoint.prune(tmp_path)
    assert checkpoint.kept(tmp_path) == (1, 2, 3) and checkpoint.load_state(tmp_path, 1)[0]["a"] == 1
    committed(tmp_path, 4)
    checkpoint.prune(tmp_path)
    assert checkpoint.kept(tmp_path) == (4,) and [p.name for p in tmp_path.glob("after-*")] == ["after-4"]


def test_behind_a_link_all_kept_checkpoints_of_the_run_are_cleared(tmp_path):
    (tmp_path / "disk" / "after-9").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    for after in (1, 2):
        checkpoint.save_state(tmp_path / "run", after, {"a": torch.ones(1)}, {})
        checkpoint.commit(tmp_path / "run", after, keep_all=True, key="k")
    assert checkpoint.clear(tmp_path / "run", "k") == []
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["after-9"]


def test_the_oldest_makes_room_before_the_next_is_written(tmp_path, monkeypatch):
    committed(tmp_path, 0, 1)
    there = []
    monkeypatch.setattr(checkpoint, "_save_tensors", lambda *_: there.append(sorted(p.name for p in tmp_path.glob("after-*"))))
    with pytest.raises(OSError, match="No such file"):
        committed(tmp_path, 2)
    assert there == [["after-1"]] * 2 and checkpoint.last_undamaged(tmp_path).after == 1


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["latest.json", *(f"after-2/{n}" for n in (*CHECKPOINT_FILES, "sha256.json"))])
def test_a_flipped_bit_is_named_and_the_checkpoint_before_it_is_used(tmp_path, name):
    committed(tmp_path, 0, 1, 2)
    flip(tmp_path / name)
    after, counters, warning = checkpoint.last_undamaged(tmp_path)
    # A damaged file of digests looks like damaged files.
    file = "after-2/" if name.endswith("sha256.json") else name
    assert (after, counters) == (1, {"images": 10}) and warning.endswith("; continuing from the checkpoint before it")
    assert file in warning
    assert torch.equal(checkpoint.load_state(tmp_path, 1)[0]["a"], torch.ones(1))
    assert checkpoint.last_undamaged(tmp_path) == (1, {"images": 10}, None), "it is the latest now"
    committed(tmp_path, 2)
    assert checkpoint.last_undamaged(tmp_path) == (2, {"images": 20}, None)


def test_two_flipped_bits_are_too_many(tmp_path):
    committed(tmp_path, 0, 1, 2)
    flip(tmp_path / "after-2" / "strategy.json")
    flip(tmp_path / "after-1" / "encoder.safetensors")
    with pytest.raises(UserError, match=r"after-2/strategy\.json is missing or damaged .*SHA-256.*--fresh starts over"):
        checkpoint.last_undamaged(tmp_path)
    assert (tmp_path / "after-1").is_dir() and (tmp_path / "after-2").is_dir()


def test_names_that_meet_stay_apart(tmp_path):
    state = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    checkpoint.save_state(tmp_path, 0, {}, state)
    assert checkpoint.load_state(tmp_path, 0)[1] == {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}


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
