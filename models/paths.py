"""Paths as users write them. Imports only the standard library."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Return the path that a user names on the command line, relative to the working directory.

    A leading "~" is the home folder, unless a file or folder has the name exactly as written. The shell has already expanded
    "~" except within a list such as `A,~/B`. A "~" that names no user is an ordinary character. Paths that are read from a file
    (a table of images) are not resolved here: in them "~" is always an ordinary character. Accents may be composed or
    decomposed. If the path does not exist in one form, the other form is used if it exists.
    """
    path = Path(text)
    if os.path.exists(path):
        return path
    if not str(text).isascii():
        forms = (Path(unicodedata.normalize(form, str(text))) for form in ("NFC", "NFD"))
        path = next((form for form in forms if os.path.exists(form)), path)
    if not str(text).startswith("~"):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # the user does not exist or has no home folder
        return path
