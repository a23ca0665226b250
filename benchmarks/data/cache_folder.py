"""The folder of caches on the user's disk."""

from __future__ import annotations

import os
from pathlib import Path

from models.registry import UserError


def cache_folder(name: str) -> Path:
    """Return the path of one cache; the folder need not exist.

    It is $PERENNIAL_CACHE/NAME, or perennial/NAME in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache).

    Raises:
        UserError: if the home folder is needed and unknown.
    """
    base = os.environ.get("PERENNIAL_CACHE")
    if base:
        return Path(base) / name
    folder = os.environ.get("XDG_CACHE_HOME")
    if folder:
        return Path(folder) / "perennial" / name
    try:
        return Path.home() / ".cache" / "perennial" / name
    except RuntimeError as error:
        raise UserError(
            "Your home folder is unknown (HOME is not set and this user has no account): set PERENNIAL_CACHE to a folder for "
            "decoded images."
        ) from error
