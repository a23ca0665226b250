"""Where caches are kept on the user's disk."""

from __future__ import annotations

import os
from pathlib import Path

from models.registry import UserError


def cache_folder(name: str) -> Path:
    """The folder `name` of $PERENNIAL_CACHE, or of `perennial` in the user's cache folder ($XDG_CACHE_HOME, ~/.cache)."""
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
