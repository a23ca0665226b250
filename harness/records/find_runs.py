"""Find the records of runs in results folders, also behind symbolic links. Imports neither torch nor Avalanche."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from harness.display.console import complain

RECORD = "run.json"
Place = tuple[int, int]
"""Device and inode of a folder or file, which are the same for every path to it."""


def find(roots: Iterable[str | Path], say: Callable[[str], None] = complain) -> list[Path]:
    """Return the `run.json` files in and below folders, those of each root before those of the next.

    Symbolic links to folders are followed, after the real folders next to them. A folder with several paths counts once, under
    the first one.

    Args:
        roots: folders, or `run.json` files. A path that does not exist has no records.
        say: called with a sentence for each folder that is left out: a broken link, a link to one of its parent folders, or a
            folder that cannot be read.
    """
    records: dict[Place, Path] = {}
    visited: set[Place] = set()
    for root in map(Path, roots):
        for path in _below(root, visited, say):
            with suppress(OSError):
                records.setdefault(_place(path), path)
    return list(records.values())


def _below(root: Path, visited: set[Place], say: Callable[[str], None]) -> Iterator[Path]:
    """Yield the records in and below a folder, or `root` if it is a file."""
    above = frozenset(map(_place, root.resolve().parents))
    # Folders to visit, each with its parent folders on the path that leads to it.
    waiting = [(root, above)]
    while waiting:
        folder, parents = waiting.pop()
        try:
            if folder.is_file():
                yield folder
                continue
            here = _place(folder)
            if here in parents:
                say(f"{folder} is a symbolic link to one of its parent folders; it is not followed.")
            if here in parents or here in visited:
                continue
            visited.add(here)
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
        except FileNotFoundError:
            continue
        except OSError as error:
            say(f"{folder} cannot be read ({error.strerror}), so its runs are not counted.")
            continue
        is_run = (folder / RECORD).is_file()
        if is_run:
            yield folder / RECORD
        folders = [entry for entry in inside if _is_folder(entry, say) and not (is_run and entry.name in ("checkpoint", "log"))]
        waiting += [(folder / entry.name, parents | {here}) for entry in reversed(folders)]


def _is_folder(entry: os.DirEntry[str], say: Callable[[str], None]) -> bool:
    """Return whether an entry is a folder or a link to a folder. Report broken links."""
    try:
        if entry.is_symlink() and not os.path.exists(entry.path):
            say(f"{entry.path} is a symbolic link to {os.readlink(entry.path)}, which does not exist; it is not counted.")
            return False
        return entry.is_dir()
    except OSError as error:
        say(f"{entry.path} cannot be read ({error.strerror}), so its runs are not counted.")
        return False


def _place(path: Path) -> Place:
    """Return the device and inode of a path."""
    status = path.stat()
    return status.st_dev, status.st_ino
