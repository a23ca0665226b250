"""Paths as users write them. Imports only the standard library."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Return the path that a user names on the command line, relative to the working directory.

    A leading "~" is the home folder only if no file or folder has the name as it is written: the shell has expanded it where
    the user meant the home folder, except within a list such as `A,~/B`. A "~" that names no user is an ordinary character.
    Paths that are read from a file (a table of images) do not go through here: in them "~" is always an ordinary character.
    Accents may be composed or decomposed: of a path that does not exist the other form is taken if it exists.
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
    except RuntimeError:  # no such user, or no home folder
        return path
