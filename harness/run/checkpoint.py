"""Write and read checkpoints: safetensors for tensors, JSON for everything else, no pickle.

    checkpoint/after-<j>/encoder.safetensors    weights of the dual encoder after experience j
    checkpoint/after-<j>/strategy.safetensors   tensors of `Strategy.state()`
    checkpoint/after-<j>/strategy.json          its other values, with the names of tensors in place of tensors
    checkpoint/after-<j>/sha256.json            digests of these files
    checkpoint/latest.json                      {"after": j, ...}, written last, so it always names a complete checkpoint
    checkpoint/previous.json                    the latest.json before it, for the case that a file of the latest is damaged

A running run keeps its last two checkpoints, and with `--keep all` one per experience, which `kept` in latest.json names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.records.files import file_sha256, plain, read_json, reading, write_json
from harness.run.run_files import CHECKPOINT, CHECKPOINT_FILES, DIGESTS, LATEST, MID_TASK, PREVIOUS, UNFINISHED_CHECKPOINT
from models.files import naming, read_text, remove_named, write_bytes
from models.loading.read_weights import DESCRIPTION
from models.registry import UserError, first_line

TENSOR = "__tensor__"


class OtherRun(UserError):
    """The checkpoint belongs to another run."""


class Committed(NamedTuple):
    """An undamaged checkpoint: its experience, its counters, and a warning if a later checkpoint is damaged."""

    after: int
    counters: dict[str, Any]
    warning: str | None


def save_state(
    folder: Path,
    after: int,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write the checkpoint `after-<after>` completely. It counts once `commit` has been called.

    Args:
        folder: the folder of checkpoints.
        after: number of the experience, or of the update for a checkpoint within a task.
        weights: of the encoder.
        state: nested dicts with string keys, lists, tensors, numbers, strings, None.
        description: of the model (`models.description.describe`), stored in the metadata of the weights file.

    Raises:
        OSError: naming the file, if the disk does not accept it. Earlier checkpoints are unchanged.
        TypeError: for a value in `state` that cannot be saved.
    """
    target = folder / f"after-{after}"
    unfinished = folder / f".after-{after}.{os.getpid()}"
    _remove_checkpoint(unfinished)
    tensors: dict[str, Tensor] = {}
    committed = latest(folder)
    if committed is not None:
        # Free the disk space of older checkpoints before the new one needs it.
        _keep_only(folder, _kept(committed))
    try:
        with naming(target):
            unfinished.mkdir(parents=True)
        structure = flatten(state, "state", tensors)
        metadata = None if description is None else {"format": "pt", DESCRIPTION: json.dumps(description)}
        _save_tensors(weights, unfinished / "encoder.safetensors", target, metadata)
        _save_tensors(tensors, unfinished / "strategy.safetensors", target)
        with naming(target / "strategy.json"):
            write_bytes(unfinished / "strategy.json", json.dumps(structure).encode())
        with naming(target):
            write_json(unfinished / DIGESTS, {name: file_sha256(unfinished / name) for name in CHECKPOINT_FILES})
            _remove_checkpoint(target)
            unfinished.rename(target)
    except BaseException:
        _remove_checkpoint(unfinished)
        raise


def commit(folder: Path, after: int, keep_all: bool = False, **counters: Any) -> None:
    """Make `after` the checkpoint to resume from, with its counters. The checkpoint before it is kept.

    Args:
        folder: the folder of checkpoints.
        after: number of the experience, or of the update for a checkpoint within a task.
        keep_all: keep the checkpoints of all experiences so far, without the one before training (0).
        counters: JSON values of the run.
    """
    before = latest(folder)
    if before is not None:
        write_json(folder / PREVIOUS, _with_digest(before))
    if keep_all:
        counters["kept"] = [*sorted(number for number in _kept(before) if 0 < number < after), *([after] if after else [])]
    write_json(folder / LATEST, _with_digest(plain({"after": after, **counters})))
    _keep_only(folder, {after, *counters.get("kept", ()), *(() if before is None else (before["after"],))})


def prune(folder: Path) -> None:
    """Keep only the latest checkpoint of a finished run, or with `--keep all` that of every experience; none within a task."""
    committed = latest(folder)
    if committed is None:
        return
    _keep_only(folder, _kept(committed))
    remove_named(folder, re.escape(PREVIOUS))
    if (folder / MID_TASK).is_dir():
        clear(folder / MID_TASK, committed.get("key"))
        with suppress(OSError):
            (folder / MID_TASK).rmdir()


def latest(folder: Path) -> dict[str, Any] | None:
    """Return the experience to resume after ("after") and its counters, or None. Raises UserError for a damaged file."""
    return _read_counters(folder / LATEST)


def kept(folder: Path) -> tuple[int, ...]:
    """Return the experiences, in order, whose checkpoints a finished run keeps. Raises UserError for a damaged file."""
    return tuple(sorted(_kept(latest(folder))))


def last_undamaged(folder: Path, key: str | None = None) -> Committed | None:
    """Return the last undamaged checkpoint, or None if nothing has been committed. Reads all its files.

    If the latest checkpoint is damaged, the one before it becomes the latest.

    Raises:
        OtherRun: for a checkpoint of a run with another key than `key`.
        UserError: naming the file, if both checkpoints are damaged.
    """
    if not (folder / LATEST).is_file() and not (folder / PREVIOUS).is_file():
        return None
    try:
        return _check_committed(folder, LATEST, key)
    except OtherRun:
        raise
    except UserError as error:
        try:
            committed = _check_committed(folder, PREVIOUS, key)
        except UserError:
            raise error from None
        write_json(folder / LATEST, _with_digest({"after": committed.after, **committed.counters}))
        warning = f"{str(error).partition(';')[0]}; continuing from the checkpoint before it"
        return committed._replace(warning=warning)


def load_state(folder: Path, after: int, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and the state of a checkpoint, on a device.

    Raises UserError, naming the file, if one is missing, damaged or not the file that was written.
    """
    checkpoint = folder / f"after-{after}"
    check(checkpoint)
    path = checkpoint
    try:
        path = checkpoint / "encoder.safetensors"
        weights = load_file(path)
        path = checkpoint / "strategy.safetensors"
        tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        path = checkpoint / "strategy.json"
        state = _restore(json.loads(read_text(path)), tensors)
    except Exception as error:  # safetensors raises its own class for damaged files
        raise _damaged(path, first_line(error)) from error
    return {name: tensor.to(device) for name, tensor in weights.items()}, state


def check(checkpoint: Path) -> None:
    """Raise UserError, naming the first file of a checkpoint that is missing or whose digest differs from the recorded one."""
    digests = read_json(checkpoint / DIGESTS)
    for name in (DIGESTS, *CHECKPOINT_FILES):
        path = checkpoint / name
        if digests is None or not path.is_file():
            raise _damaged(path, "the file does not exist")
        if name != DIGESTS and file_sha256(path) != digests.get(name):
            raise _damaged(path, "its SHA-256 differs from the recorded one")


def clear(folder: Path, key: str | None) -> list[Path]:
    """Delete the checkpoints of the run with this key, also those within a task; return what is left.

    Files are deleted by name, and folders once they are empty. Behind a symbolic link (a checkpoint folder on another disk),
    only the checkpoints that `latest.json` and `previous.json` name with this key are deleted. A link to a folder without
    such checkpoints is removed, and its target is left and returned.
    """
    linked = folder.is_symlink()
    through_link = linked or folder.parent.is_symlink()
    indices = [LATEST, PREVIOUS]
    checkpoints = _checkpoints_in(folder)
    if through_link:
        indices = [name for name in indices if _belongs_to(folder / name, key)]
        numbers = {number for name in indices for number in _kept(_read_counters(folder / name))}
        checkpoints = [folder / f"after-{number}" for number in sorted(numbers)]
        if linked and not indices:
            target = Path(os.path.realpath(folder))
            folder.unlink()
            return [target]
    if not folder.is_dir() or (through_link and not indices):
        return []
    for checkpoint in checkpoints:
        _remove_checkpoint(checkpoint)
    left = [checkpoint for checkpoint in checkpoints if os.path.lexists(checkpoint)]
    if os.path.lexists(folder / MID_TASK):
        left += clear(folder / MID_TASK, key)
        with suppress(OSError):
            (folder / MID_TASK).rmdir()
    # remove_named refuses a linked folder, and the run's files were read through the link.
    return [*left, *remove_named(Path(os.path.realpath(folder)), *map(re.escape, indices))]


def _belongs_to(index: Path, key: str | None) -> bool:
    """Return whether the run with this key has written latest.json or previous.json."""
    with suppress(UserError):
        counters = _read_counters(index)
        return counters is not None and key is not None and counters.get("key") == key
    return False


def _kept(counters: Mapping[str, Any] | None) -> set[int]:
    """Return the experiences whose checkpoints latest.json or previous.json names."""
    return set() if counters is None else {counters["after"], *counters.get("kept", ())}


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"The checkpoint file {path} is missing or damaged ({why}); --fresh starts over.")


def _check_committed(folder: Path, index: str, key: str | None) -> Committed:
    """Return the checkpoint that latest.json or previous.json names. Raises UserError if it is damaged or another run's."""
    counters = _read_counters(folder / index)
    if counters is None:
        raise _damaged(folder / index, "the file does not exist")
    if key is not None and counters.get("key", key) != key:
        raise OtherRun(f"{folder / index} belongs to another run, with the key {counters['key']}; --fresh starts over.")
    check(folder / f"after-{counters['after']}")
    return Committed(counters.pop("after"), counters, None)


def _read_counters(path: Path) -> dict[str, Any] | None:
    """Return the values that `commit` wrote, without their digest, or None if there is no file."""
    counters = read_json(path)
    if counters is None:
        return None
    with reading(path):
        digest = counters.pop("sha256")
        if _with_digest(counters)["sha256"] != digest:
            raise ValueError("its SHA-256 differs from the recorded one")
        if type(counters["after"]) is not int or counters["after"] < 0:
            raise ValueError("`after` is not the number of an experience")
    return counters


def _with_digest(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "sha256": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def _keep_only(folder: Path, experiences: set[int]) -> None:
    """Delete the checkpoints of other experiences."""
    checkpoints = _checkpoints_in(folder)
    if folder.is_symlink():
        # The target may hold checkpoints of other runs, so only the one that previous.json names is deleted.
        checkpoints = []
        with suppress(UserError):
            if (counters := _read_counters(folder / PREVIOUS)) is not None:
                checkpoints = [folder / f"after-{counters['after']}"]
    for checkpoint in checkpoints:
        if checkpoint.name not in {f"after-{after}" for after in experiences}:
            _remove_checkpoint(checkpoint)


def _checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, also unfinished ones."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if CHECKPOINT.fullmatch(p.name) or UNFINISHED_CHECKPOINT.fullmatch(p.name))


def _remove_checkpoint(checkpoint: Path) -> None:
    """Delete the files of a checkpoint by name, and its folder if that is then empty. Of a symbolic link, delete the link."""
    if checkpoint.is_symlink():
        checkpoint.unlink()
        return
    remove_named(checkpoint, *map(re.escape, (*CHECKPOINT_FILES, DIGESTS)))
    with suppress(OSError):
        checkpoint.rmdir()


def _save_tensors(tensors: Mapping[str, Tensor], path: Path, target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file and flush it to the disk. Raises OSError that names the file's final place in `target`."""
    # Separate storage for each tensor: safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with naming(target / path.name):
        path.touch()
        mode = path.stat().st_mode
        try:
            save_file(copies, path, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # safetensors reports the system's error only as text.
            number = re.search(r"os error (\d+)|code: (\d+)", str(error))
            if number is None:
                raise
            code = int(number[1] or number[2])
            raise OSError(code, os.strerror(code)) from error
        # safetensors makes files that only their owner can read.
        os.chmod(path, mode)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a state as JSON values, with its tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        # {"a.b": x, "a": {"b": y}} gives two tensors one name.
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {TENSOR: name}
    if isinstance(value, dict):
        if TENSOR in value or not all(isinstance(k, str) for k in value):
            raise TypeError(f"{name}: the keys of a strategy's state must be strings other than {TENSOR!r}")
        return {k: flatten(v, f"{name}.{k}", tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [flatten(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name}: a strategy's state holds tensors, numbers, strings, lists and dicts, not {type(value).__name__}")


def _restore(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the state that `flatten` made `structure` from."""
    if isinstance(structure, dict):
        if TENSOR in structure:
            return tensors[structure[TENSOR]]
        return {k: _restore(v, tensors) for k, v in structure.items()}
    if isinstance(structure, list):
        return [_restore(v, tensors) for v in structure]
    return structure
