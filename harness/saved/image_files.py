"""Find image files in the arguments of a command. Imports neither torch nor Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.data.formats import is_image
from models.paths import user_path
from models.registry import UserError


def image_files(words: Sequence[str]) -> list[Path]:
    """Return files, and the image files in and below folders in the order of their names. A file counts once.

    Raises:
        UserError: for a path that does not exist and a folder without an image file.
    """
    paths: dict[Path, None] = {}
    for word in words:
        path = user_path(word)
        if path.is_dir():
            inside = list(_below(path))
            if not inside:
                raise UserError(f"There is no image in the folder {word}.")
            paths |= dict.fromkeys(inside)
        elif not path.exists():
            raise UserError(f"There is no image or folder {word}.")
        else:
            paths[path] = None
    return list(paths)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if is_image(name))
