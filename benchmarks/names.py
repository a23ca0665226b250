"""Names of domains: splitting and joining lists of them, and the names that are not allowed. Imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from benchmarks.own.columns import chosen_columns
from models.paths import user_path
from models.registry import UserError

SEEN = "seen"
"""Task of all classes seen so far (class-incremental protocol). Records use this name, so a domain cannot have it."""

_COMMA = re.compile(r"(?<!\\),")


def split_names(text: str | Sequence[str]) -> tuple[str, ...]:
    r"""Split a comma-joined text into names. A sequence of names is returned as it is.

    A comma that belongs to a name is written with a backslash: `signs\, 2023`.
    """
    if not isinstance(text, str):
        return tuple(text)
    return tuple(name.replace("\\,", ",") for part in _COMMA.split(text) if (name := part.strip()))


def names_from_words(words: Sequence[str], data_root: str | None = None) -> tuple[str, ...]:
    """Return the names in the words of a list flag. Blanks and commas separate names (`A,B C`).

    The path of an existing file or folder is one name, even if it contains commas: with a folder `signs, 2023`,
    `--tasks "signs, 2023,digits"` is two names. Other names with commas are written as in `split_names`.

    Args:
        words: the words as the shell passes them.
        data_root: the data folder, for flags that name data. Paths are looked for there too.
    """
    names: list[str] = []
    for word in words:
        parts = _COMMA.split(word)
        while parts:
            end = next((n for n in range(len(parts), 1, -1) if _exists(",".join(parts[:n]), data_root)), 1)
            # A path is taken as it is: a backslash may be part of it.
            name = ",".join(parts[:end]).strip()
            names += [name if end > 1 else name.replace("\\,", ",")] if name else []
            del parts[:end]
    return tuple(names)


def join_names(names: Sequence[str]) -> str:
    """Join names into one text that `split_names` splits into the same names."""
    return ",".join(name.replace(",", "\\,") for name in names)


def check_distinct(names: Sequence[str], heldout: Sequence[str]) -> None:
    """Raise UserError for a repeated name, a name both trained and held out, and the reserved name "seen"."""
    if SEEN in names or SEEN in heldout:
        raise UserError(f"A domain cannot be called {SEEN!r}: records use that name for the task of all classes seen so far.")
    for where, listed in (("The stream", names), ("--heldout", heldout)):
        if repeated := sorted({name for name in listed if list(listed).count(name) > 1}):
            raise UserError(f"{where} names {', '.join(repeated)} twice.")
    if both := sorted(set(names) & set(heldout)):
        raise UserError(f"{', '.join(both)} cannot be both trained and held out.")


def _exists(text: str, data_root: str | None) -> bool:
    name = chosen_columns(text.strip()).name
    places = [user_path(name)] + ([user_path(data_root) / name] if data_root else [])
    return bool(name) and any(os.path.exists(place) for place in places)
