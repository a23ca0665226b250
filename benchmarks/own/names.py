"""Class names and prompt templates of a user's data: given as a list, or read from a .txt, .json or .toml file. No torch."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.files import read_text
from models.paths import user_path
from models.registry import UserError, check_text, first_line, unknown

_NEGATIVE = re.compile(r"-\d+(\.\d+)?")
DEFAULT_TEMPLATES = ("a photo of a {}.",)

Names = Sequence[str] | Mapping[str, str] | str | Path | None
Templates = Sequence[str] | str | Path | None


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key: numbers inside a text by value, so that "class 2" comes before "class 10"."""
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts], text


def clean(name: str) -> str:
    """A folder name or label as a class name: "_" is a blank, no blanks around, one form of accented letters."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def folded(name: str) -> str:
    """Return a name without regard to case, accents' form, and "_", "-" and blanks, for comparing only."""
    text = clean(name).casefold()
    if _NEGATIVE.fullmatch(text):
        return text
    return " ".join(text.replace("-", " ").split()).rstrip(" .")


def read_names(given: Names) -> list[str] | dict[str, str] | None:
    """Read class names: a list in class order, or a dictionary from folder (or label) to name; None for None.

    Accents are composed (NFC). A .txt file has one name per line, or `folder<TAB>name` on every line; a .json file a list or
    an object; a .toml file a key `classnames` (a list or a table). Raises UserError, naming the file, for one that is missing,
    unreadable, or mixed.
    """
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        where = f"The class names file {given}"
        found = _read(Path(given), "classnames", where)
    else:
        where, found = "The list of class names", dict(given) if isinstance(given, Mapping) else list(given)
    if isinstance(found, Mapping) and found and all(type(value) is int for value in found.values()):
        found = {str(number): name for name, number in found.items()}  # torchvision's class_to_idx
    if isinstance(found, Mapping):
        names: list[Any] = [*found, *found.values()]
    else:
        names = list(found)
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where} has {name!r} where a name is wanted.")
    if isinstance(found, Mapping):
        return {unicodedata.normalize("NFC", key): unicodedata.normalize("NFC", name.strip()) for key, name in found.items()}
    return [unicodedata.normalize("NFC", name.strip()) for name in found]


def name_classes(keys: Sequence[str], given: list[str] | dict[str, str] | None, what: str) -> tuple[str, ...]:
    """Return one name for each of the class keys, in their order; `what` is the noun for a key in messages ("class folder").

    Without `given` the names are the cleaned keys. With it they are matched as in `match.match_names`.

    Raises:
        UserError: for a wrong number of names, a key without a name, a name for no key, fewer than two classes, two keys
            with one name (case and blanks do not count), and a key or name that `check_text` refuses.
    """
    from benchmarks.own.match import match_names

    if len(keys) < 2:
        raise UserError(f"At least two classes are needed, there is only the {what} {', '.join(map(repr, keys)) or 'of none'}.")
    given = None if given is None else match_names(keys, given, what).names
    if given is None:
        names = [clean(key) for key in keys]
    elif isinstance(given, dict):
        for key in given:
            if key not in keys:
                raise unknown(what, key, keys)
        if lacking := [key for key in keys if key not in given]:
            raise UserError(f"The class names have none for the {what} {lacking[0]!r}.")
        names = [given[key] for key in keys]
    else:
        if len(given) != len(keys):
            raise UserError(
                f"There are {len(given)} class names for {len(keys)} classes ({what}s {short(keys)}).{_apart(keys, given)}"
            )
        names = list(given)
    first: dict[str, str] = {}
    for key, name in zip(keys, names, strict=True):
        check_text(key, what)
        check_text(name, "class name")
        if not name:
            raise UserError(f"The {what} {key!r} makes an empty class name.")
        form = folded(name)
        if form in first:
            raise UserError(
                f"The {what}s {first[form]!r} and {key!r} have one class name, {name!r} (case, blanks, '_' and '-' do not "
                "count): merge them, or give them different names with --classnames."
            )
        first[form] = key
    return tuple(names)


def _apart(keys: Sequence[str], given: Sequence[str]) -> str:
    """Return a sentence on the keys that a list of names lacks and the names that no key has, if most of them agree."""
    names, there = {folded(name): name for name in given}, {folded(key): key for key in keys}
    if len(names.keys() & there.keys()) * 2 < len(keys):
        return " Blank lines do not count." if len(given) < len(keys) else ""
    lacking, extra = [there[k] for k in there if k not in names], [names[n] for n in names if n not in there]
    parts = [f"Without a name: {short(lacking)}." if lacking else "", f"Without a class: {short(extra)}." if extra else ""]
    return " ".join(["", *filter(None, parts)])


def read_templates(given: Templates) -> tuple[str, ...]:
    """Prompt templates: a list, or a file (.txt one a line, .json a list, .toml a key `templates`); the default for None.

    Raises UserError for an empty list and for a template without "{}", which is named.
    """
    if given is None:
        return DEFAULT_TEMPLATES
    if isinstance(given, (str, Path)):
        where = f"The templates file {given}"
        found = _read(Path(given), "templates", where)
        if isinstance(found, Mapping):
            raise UserError(f"{where} must hold a list of templates.")
    else:
        where, found = "The list of templates", list(given)
    if not found:
        raise UserError(f"{where} is empty.")
    for template in found:
        if not isinstance(template, str) or "{}" not in template:
            raise UserError(f"{where} has {template!r}, which has no '{{}}' for the class name.")
        check_text(template, "template")
    return tuple(found)


def _read(path: Path, key: str, where: str) -> list[Any] | dict[str, Any]:
    """What a .txt, .json or .toml file holds: a list or a dictionary."""
    path = user_path(path)
    try:
        suffix = path.suffix.lower()
        text = unicodedata.normalize("NFC", read_text(path, "utf-8-sig"))
        if suffix == ".txt":
            return _lines(text, where) if key == "classnames" else [line.strip() for line in text.splitlines() if line.strip()]
        if suffix == ".json":
            found = json.loads(text)
        elif suffix == ".toml":
            found = tomllib.loads(text)
        else:
            raise UserError(
                f"{where} must end in .txt, .json or .toml; in a .txt file each line has a name, or folder<TAB>name."
            )
    except FileNotFoundError as error:
        raise UserError(f"{where} is missing.") from error
    except UserError:
        raise
    # ValueError is that of both parsers and of endless numbers, RecursionError of endless brackets.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read: {first_line(error)}.") from error
    if path.suffix.lower() == ".toml":
        if key not in found:
            raise UserError(f"{where} has no key {key!r}.")
        found = found[key]
    if not isinstance(found, (list, dict)):
        raise UserError(f"{where} must hold a list or a table, not {type(found).__name__}.")
    return found


def _lines(text: str, where: str) -> list[Any] | dict[str, Any]:
    """One name a line, or `folder<TAB>name` a line. Blank lines are left out."""
    lines = [(number, line.strip("\r\n")) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not any("\t" in line.strip() for _, line in lines):
        return [line for _, line in lines]
    named: dict[str, Any] = {}
    for number, line in lines:
        key, _, name = (part.strip() for part in line.partition("\t"))
        if not (key and name):
            raise UserError(f"{where} has no 'folder<TAB>name' in line {number}, as other lines have.")
        if key in named:
            raise UserError(f"{where} names {key!r} again in line {number}.")
        named[key] = name
    return named


def short(keys: Sequence[str]) -> str:
    return ", ".join(keys) if len(keys) <= 6 else f"{', '.join(keys[:3])}, ..., {keys[-1]}"
