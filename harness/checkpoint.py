"""Checkpoints after each experience: safetensors for tensors, JSON for the rest. Nothing is pickled.

checkpoint/after-<j>/encoder.safetensors    the dual encoder's weights
checkpoint/after-<j>/strategy.safetensors   the tensors of `Strategy.state()`
checkpoint/after-<j>/strategy.json          its other values, with the tensors' names in their places
checkpoint/latest.json                      {"after": j, ...}, written last: it never points at half a checkpoint
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.records import read_json, write_bytes, write_json
from models.registry import UserError

TENSOR = "__tensor__"


def save_state(folder: Path, after: int, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write `checkpoint/after-<after>`, in full, under `folder`; it counts once `commit` has been called."""
    target = folder / f"after-{after}"
    temporary = folder / f".after-{after}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    try:
        save_file(_detached(weights), temporary / "encoder.safetensors")
        structure = _flatten(state, "state", tensors)
        save_file(_detached(tensors), temporary / "strategy.safetensors")
        write_bytes(temporary / "strategy.json", json.dumps(structure).encode())
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def commit(folder: Path, after: int, **counters: Any) -> None:
    """Make `after` the checkpoint to resume from, together with counters that belong to it, and remove the older
    ones.
    """
    write_json(folder / "latest.json", {"after": after, **counters})
    for other in folder.iterdir():
        if other.is_dir() and other.name != f"after-{after}":
            shutil.rmtree(other, ignore_errors=True)


def latest(folder: Path) -> dict[str, Any] | None:
    """The experience to resume after ("after") and its counters, or None."""
    return read_json(folder / "latest.json")


def load_state(folder: Path, after: int, device: Any = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and strategy state of a checkpoint, on a device.

    Raises UserError, naming the file, when one is missing or damaged.
    """
    source = folder / f"after-{after}"
    path = source
    try:
        path = source / "encoder.safetensors"
        weights = load_file(path)
        path = source / "strategy.safetensors"
        tensors = load_file(path)
        path = source / "strategy.json"
        structure = json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # safetensors raises its own class for damaged files
        raise UserError(f"The checkpoint file {path} is missing or damaged ({error}); --fresh starts over.") from error
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return {name: w.to(device) for name, w in weights.items()}, _restore(structure, tensors)


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Own storage each: safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {TENSOR: name}
    if isinstance(value, dict):
        if TENSOR in value or not all(isinstance(k, str) for k in value):
            raise TypeError(f"{name}: the keys of a strategy's state must be strings, and not {TENSOR!r}")
        return {k: _flatten(v, f"{name}.{k}", tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flatten(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name}: a strategy's state holds tensors, numbers, strings, lists and dicts, not {type(value).__name__}")


def _restore(structure: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(structure, dict):
        if TENSOR in structure:
            return tensors[structure[TENSOR]]
        return {k: _restore(v, tensors) for k, v in structure.items()}
    if isinstance(structure, list):
        return [_restore(v, tensors) for v in structure]
    return structure
