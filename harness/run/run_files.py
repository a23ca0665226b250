"""Names of the files in the folder of a run, and removal of those that killed processes leave. Imports nothing heavy.

Only names that a run gives are touched, and nothing behind a symbolic link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from models.files import TEMPORARY

RECORD = "run.json"
TABLES = ("accuracy.csv", "measures.csv", "train.csv")
CHECKPOINTS, MID_TASK = "checkpoint", "within"
"""The folder of checkpoints, and in it the folder of checkpoints within a task."""
PREDICTIONS = "predictions"
"""The folder of saved predictions, with one file per row of the accuracy matrix (`harness.records.predictions`)."""
LOG, LOG_PROGRESS = "log", "progress.json"
"""The folder of the loggers, and in it the file with what each of them has received (`harness.loggers`)."""
PREDICTIONS_FILE = r"after-\d+\.parquet"
LATEST, PREVIOUS, DIGESTS = "latest.json", "previous.json", "sha256.json"
CHECKPOINT_FILES = ("encoder.safetensors", "strategy.safetensors", "strategy.json")
CHECKPOINT = re.compile(r"after-\d+")
UNFINISHED_CHECKPOINT = re.compile(r"\.after-\d+\.\d+")
_WRITTEN = (RECORD, *TABLES, LATEST, PREVIOUS, DIGESTS, "strategy.json")
UNFINISHED_FILE = re.compile(rf"\.(?:{'|'.join(map(re.escape, _WRITTEN))}|{PREDICTIONS_FILE})\.{TEMPORARY}")


def find_unfinished(folder: Path) -> list[Path]:
    """Return the files and checkpoints of a run that a process was writing when it was killed, contents before folders."""
    checkpoints = folder / CHECKPOINTS
    places = [folder, checkpoints] if checkpoints.is_symlink() else [folder, checkpoints, checkpoints / MID_TASK]
    places.append(folder / PREDICTIONS)
    unfinished: list[Path] = []
    for path in (path for place in places for path in _entries(place)):
        if UNFINISHED_FILE.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            unfinished.append(path)
        elif UNFINISHED_CHECKPOINT.fullmatch(path.name):
            unfinished += _with_contents(path)
    return unfinished


def find_unneeded(folder: Path) -> list[Path]:
    """Return what a finished run does not need: `find_unfinished`, and the checkpoints within a task."""
    unneeded, mid_task = find_unfinished(folder), folder / CHECKPOINTS / MID_TASK
    if mid_task.is_dir() and not mid_task.is_symlink() and not mid_task.parent.is_symlink():
        for path in _entries(mid_task):
            if CHECKPOINT.fullmatch(path.name):
                unneeded += _with_contents(path)
        unneeded += [path for path in _entries(mid_task) if path.name in (LATEST, PREVIOUS)]
        unneeded.append(mid_task)
    return unneeded


def remove(paths: list[Path]) -> None:
    """Remove files and empty folders. The caller holds the lock of the run. Paths that cannot be removed stay."""
    for path in paths:
        with suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _with_contents(checkpoint: Path) -> list[Path]:
    """Return the files of a checkpoint, then its folder; nothing for a symbolic link."""
    if checkpoint.is_symlink():
        return []
    names = (*CHECKPOINT_FILES, DIGESTS)
    return [path for path in _entries(checkpoint) if path.name in names or UNFINISHED_FILE.fullmatch(path.name)] + [checkpoint]


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, sorted. A symbolic link, an unreadable and a missing folder have no entries."""
    if not folder.is_symlink():
        with suppress(OSError):
            yield from sorted(folder.iterdir())
