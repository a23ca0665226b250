"""Checkpoints after each experience: safetensors for tensors, JSON for the rest. Nothing is pickled.

checkpoint/after-<j>/encoder.safetensors    the dual encoder's weights
checkpoint/after-<j>/strategy.safetensors   the tensors of `Strategy.state()`
checkpoint/after-<j>/strategy.json          its other values, with the tensors' names in their places
checkpoint/after-<j>/sha256.json            digests of these files
checkpoint/latest.json                      {"after": j, ...}, written last: it never points at half a checkpoint
checkpoint/previous.json                    what latest.json was before, for the day when a file turns out to be damaged

While a run lasts, its last two checkpoints are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.records.files import file_sha256, plain, read_json, reading, write_json
from models.files import naming, read_text, remove_named, write_bytes
from models.loading.read_weights import DESCRIPTION
from models.registry import UserError, first_line

TENSOR = "__tensor__"
FILES = ("encoder.safetensors", "strategy.safetensors", "strategy.json")
LATEST, PREVIOUS, DIGESTS = "latest.json", "previous.json", "sha256.json"
WITHIN = "within"
COMMITTED, HALF = re.compile(r"after-\d+"), re.compile(r"\.after-\d+\.\d+")


class Foreign(UserError):
    """A checkpoint that another run has written."""


class Sound(NamedTuple):
    """A checkpoint whose files are as they were written: its experience and counters, and what is wrong with a later one."""

    after: int
    counters: dict[str, Any]
    warning: str | None


def save_state(
    folder: Path, after: int, weights: dict[str, Tensor], state: dict[str, Any], description: dict[str, Any] | None = None
) -> None:
    """Write `checkpoint/after-<after>`, in full, under `folder`; it counts once `commit` has been called.

    `description` (`models.loading.description.describe`) is recorded in the metadata of the weights file.

    Raises OSError, naming the file, when the disk does not take it; what counted before counts still.
    """
    target = folder / f"after-{after}"
    temporary = folder / f".after-{after}.{os.getpid()}"
    _remove(temporary)
    tensors: dict[str, Tensor] = {}
    committed = latest(folder)
    if committed is not None:
        # Before the new one takes its place on the disk, not after.
        _keep(folder, {committed["after"]})
    try:
        with naming(target):
            temporary.mkdir(parents=True)
        structure = _flatten(state, "state", tensors)
        recorded = None if description is None else {"format": "pt", DESCRIPTION: json.dumps(description)}
        _save(_detached(weights), temporary / "encoder.safetensors", target, recorded)
        _save(_detached(tensors), temporary / "strategy.safetensors", target)
        with naming(target / "strategy.json"):
            write_bytes(temporary / "strategy.json", json.dumps(structure).encode())
        with naming(target):
            write_json(temporary / DIGESTS, {name: file_sha256(temporary / name) for name in FILES})
            _remove(target)
            temporary.rename(target)
    except BaseException:
        _remove(temporary)
        raise


def commit(folder: Path, after: int, **counters: Any) -> None:
    """Make `after` the checkpoint to resume from, together with counters that belong to it; the one before it is kept."""
    before = latest(folder)
    if before is not None:
        write_json(folder / PREVIOUS, _signed(before))
    write_json(folder / LATEST, _signed(plain({"after": after, **counters})))
    _keep(folder, {after} if before is None else {after, before["after"]})


def prune(folder: Path) -> None:
    """Keep only the latest checkpoint, and nothing of the middle of a task: the run is finished."""
    found = latest(folder)
    if found is not None:
        _keep(folder, {found["after"]})
        remove_named(folder, re.escape(PREVIOUS))
    if found is not None and (folder / WITHIN).is_dir():
        clear(folder / WITHIN, found.get("key"))
        with suppress(OSError):
            (folder / WITHIN).rmdir()


def latest(folder: Path) -> dict[str, Any] | None:
    """The experience to resume after ("after") and its counters, or None. Raises UserError when the file is damaged."""
    return _counters(folder / LATEST)


def sound(folder: Path, key: str | None = None) -> Sound | None:
    """The last checkpoint that is undamaged, or None where nothing has been committed. Reads the files through.

    Where that is the one before the latest, it becomes the latest. Raises UserError, naming the file, when neither can be used,
    and for one that a run with another key than `key` has written.
    """
    if not (folder / LATEST).is_file() and not (folder / PREVIOUS).is_file():
        return None
    try:
        return _sound(folder, LATEST, key)
    except Foreign:
        raise
    except UserError as error:
        try:
            found = _sound(folder, PREVIOUS, key)
        except UserError:
            raise error from None
        write_json(folder / LATEST, _signed({"after": found.after, **found.counters}))
        return found._replace(warning=f"{str(error).partition(';')[0]}; going on from the checkpoint before it")


def load_state(folder: Path, after: int, device: Any = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and strategy state of a checkpoint, on a device.

    Raises UserError, naming the file, when one is missing, damaged or not what was written.
    """
    source = folder / f"after-{after}"
    check(source)
    path = source
    try:
        path = source / "encoder.safetensors"
        weights = load_file(path)
        path = source / "strategy.safetensors"
        tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        path = source / "strategy.json"
        state = _restore(json.loads(read_text(path)), tensors)
    except Exception as error:  # safetensors raises its own class for damaged files
        raise _damaged(path, first_line(error)) from error
    return {name: w.to(device) for name, w in weights.items()}, state


def check(source: Path) -> None:
    """Raise UserError, naming the first file of `after-<j>` that is missing or has another digest than when it was written."""
    digests = read_json(source / DIGESTS)
    for name in (DIGESTS, *FILES):
        path = source / name
        if digests is None or not path.is_file():
            raise _damaged(path, "there is no such file")
        if name != DIGESTS and file_sha256(path) != digests.get(name):
            raise _damaged(path, "its SHA-256 is another one than when it was written")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"The checkpoint file {path} is missing or damaged ({why}); --fresh starts over.")


def _sound(folder: Path, name: str, key: str | None) -> Sound:
    found = _counters(folder / name)
    if found is None:
        raise _damaged(folder / name, "there is no such file")
    if key is not None and found.get("key", key) != key:
        raise Foreign(f"{folder / name} is of another run, with the key {found['key']}; --fresh starts over.")
    check(folder / f"after-{found['after']}")
    return Sound(found.pop("after"), found, None)


def _counters(path: Path) -> dict[str, Any] | None:
    """What `commit` wrote, less its digest; None where there is no file."""
    found = read_json(path)
    if found is None:
        return None
    with reading(path):
        digest = found.pop("sha256")
        if _signed(found)["sha256"] != digest:
            raise ValueError("its SHA-256 is another one than when it was written")
        if type(found["after"]) is not int or found["after"] < 0:
            raise ValueError("no number of an experience")
    return found


def _signed(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "sha256": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def _keep(folder: Path, experiences: set[int]) -> None:
    kept = {f"after-{after}" for after in experiences}
    others = _folders(folder)
    if folder.is_symlink():
        # It may lead to checkpoints of other runs: only the one that this run has named is deleted.
        with suppress(UserError):
            before = _counters(folder / PREVIOUS)
            others = [] if before is None else [folder / f"after-{before['after']}"]
    for other in others:
        if other.name not in kept:
            _remove(other)


def tidy(folder: Path) -> None:
    """Delete what a killed process was writing in a folder of checkpoints."""
    for each in (folder, folder / WITHIN):
        if each.is_symlink():
            return
        remove_named(each, re.escape(LATEST), re.escape(PREVIOUS), unfinished=True)
        for half in _folders(each):
            if HALF.fullmatch(half.name):
                _remove(half)


def clear(folder: Path, key: str | None) -> list[Path]:
    """Delete the checkpoints of the run with this key, and what it saved within a task; return what is left.

    Files are deleted by name and folders only when they are then empty. Behind a symbolic link (the folder on another disk, or
    a link to anything) only what `latest.json` and `previous.json` there name with this key is deleted. A link to a folder
    without them is removed and what it leads to stays.
    """
    others = _folders(folder)
    if folder.is_symlink() or folder.parent.is_symlink():
        named = [found for name in (LATEST, PREVIOUS) if (found := _counters_of(folder / name, key)) is not None]
        others = [folder / f"after-{found['after']}" for found in named]
        if not named and not folder.is_symlink():
            return []
        if not named:
            left = [Path(os.path.realpath(folder))]
            folder.unlink()
            return left
    if not folder.is_dir():
        return []
    for each in others:
        _remove(each)
    left = [each for each in others if os.path.lexists(each)]
    if os.path.lexists(folder / WITHIN):
        left += clear(folder / WITHIN, key)
        with suppress(OSError):
            (folder / WITHIN).rmdir()
    # The links of a folder are followed here: its files have been read through them.
    real = Path(os.path.realpath(folder))
    return [*left, *remove_named(real, re.escape(LATEST), re.escape(PREVIOUS))]


def _counters_of(path: Path, key: str | None) -> dict[str, Any] | None:
    """Return the counters in a file if the run with this key has written them."""
    with suppress(UserError):
        found = _counters(path)
        return found if found is not None and key is not None and found.get("key") == key else None
    return None


def _folders(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder. Half-written ones of killed processes start with a dot."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if COMMITTED.fullmatch(p.name) or HALF.fullmatch(p.name))


def _remove(folder: Path) -> None:
    """Delete one checkpoint by the names of its files, and its folder when that is then empty; of a link only the link."""
    if folder.is_symlink():
        folder.unlink()
        return
    remove_named(folder, *map(re.escape, (*FILES, DIGESTS)))
    with suppress(OSError):
        folder.rmdir()


def _save(tensors: dict[str, Tensor], path: Path, target: Path, metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, on the disk when this returns. Raises OSError, naming where the file was to stand in the end."""
    with naming(target / path.name):
        path.touch()
        mode = path.stat().st_mode
        try:
            save_file(tensors, path, metadata)
        except SafetensorError as error:
            # It has the system's error as text alone.
            number = re.search(r"os error (\d+)|code: (\d+)", str(error))
            if number is None:
                raise
            code = int(number[1] or number[2])
            raise OSError(code, os.strerror(code)) from error
        # safetensors makes files that only their owner can read.
        os.chmod(path, mode)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Own storage each: safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # {"a.b": x, "a": {"b": y}} asks for one name twice.
        while name in tensors:
            name += "'"
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
