"""Remove what killed processes leave behind in the folder of a run. Imports nothing heavy.

Only names that a run gives are touched, and nothing behind a symbolic link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

WRITTEN = r"run\.json|accuracy\.csv|measures\.csv|train\.csv|latest\.json|previous\.json|sha256\.json|strategy\.json"
TEMPORARY = re.compile(rf"\.(?:{WRITTEN})\.[a-z0-9_]{{8}}")
"""Files that were being written when the process was killed."""
HALF = re.compile(r"\.after-\d+\.\d+")
SAVED = re.compile(r"after-\d+")
CHECKPOINT_FILES = ("encoder.safetensors", "strategy.safetensors", "strategy.json", "sha256.json")
WITHIN_FILES = ("latest.json", "previous.json")


def find(folder: Path) -> list[Path]:
    """Return the files and folders that a finished run does not need, each folder after what is in it.

    These are temporary files, half-written checkpoints, and `checkpoint/within`, the state in the middle of a task.
    """
    checkpoint = folder / "checkpoint"
    within = checkpoint / "within"
    found: list[Path] = []
    for place in (folder, checkpoint, *(() if checkpoint.is_symlink() else (within,))):
        for path in _inside(place):
            if TEMPORARY.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
                found.append(path)
            elif HALF.fullmatch(path.name) or (place == within and SAVED.fullmatch(path.name)):
                found += _checkpoint(path)
    if within.is_dir() and not within.is_symlink() and not checkpoint.is_symlink():
        found += [path for path in _inside(within) if path.name in WITHIN_FILES]
        found.append(within)
    return found


def remove(folder: Path) -> None:
    """Remove what `find` returns. The caller holds the lock of the folder. What cannot be removed stays."""
    for path in find(folder):
        with suppress(OSError):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _checkpoint(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    return [path for path in _inside(folder) if path.name in CHECKPOINT_FILES or TEMPORARY.fullmatch(path.name)] + [folder]


def _inside(folder: Path) -> Iterator[Path]:
    """The entries of a folder, none where it is a link, cannot be read or is not there."""
    if not folder.is_symlink():
        with suppress(OSError):
            yield from sorted(folder.iterdir())
