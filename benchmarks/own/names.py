"""Class names and prompt templates of a user's data, from a list or a .txt, .json or .toml file. No torch."""

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
from models.registry import UserError, check_text, first_line

_NEGATIVE = re.compile(r"-\d+(\.\d+)?")
DEFAULT_TEMPLATES = ("a photo of a {}.",)

Names = Sequence[str] | Mapping[str, str] | str | Path | None
"""Class names as a reader's argument: a list in class order, a dictionary by folder or label, a file, or None."""
Templates = Sequence[str] | str | Path | None
"""Prompt templates as a reader's argument: a list, a file, or None."""


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that compares numbers inside a text by value: "class 2" comes before "class 10"."""
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    return [(0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts], text


def clean(name: str) -> str:
    """Return a folder name or label as a class name: "_" becomes a blank, outer blanks go, accents are composed."""
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def folded(name: str) -> str:
    """Return the form of a name for comparisons: without case, the form of accents, and "_", "-" and blanks."""
    text = clean(name).casefold()
    if _NEGATIVE.fullmatch(text):
        return text
    return " ".join(text.replace("-", " ").split()).rstrip(" .")


def short(keys: Sequence[str]) -> str:
    """Return a list of names for a message, abbreviated if there are more than six."""
    return ", ".join(keys) if len(keys) <= 6 else f"{', '.join(keys[:3])}, ..., {keys[-1]}"


def read_names(names: Names) -> list[str] | dict[str, str] | None:
    """Read class names. Accents are composed (NFC).

    A .txt file has one name per line, or `folder<TAB>name` on every line. A .json file has a list or an object. A .toml file
    has a key `classnames` with a list or a table.

    Returns:
        A list in class order, a dictionary from folder (or label) to name, or None for None.

    Raises:
        UserError: naming the file, if it is missing or unreadable, or has another form.
    """
    if names is None:
        return None
    content: Any
    if isinstance(names, (str, Path)):
        where = f"The class names file {names}"
        content = _read(Path(names), "classnames", where)
    else:
        where, content = "The list of class names", dict(names) if isinstance(names, Mapping) else list(names)
    if isinstance(content, Mapping) and content and all(type(value) is int for value in content.values()):
        content = {str(number): name for name, number in content.items()}  # torchvision's class_to_idx
    texts: list[Any] = [*content, *content.values()] if isinstance(content, Mapping) else list(content)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where} has {text!r} in place of a name.")
    if isinstance(content, Mapping):
        return {unicodedata.normalize("NFC", key): unicodedata.normalize("NFC", name.strip()) for key, name in content.items()}
    return [unicodedata.normalize("NFC", name.strip()) for name in content]


def read_templates(templates: Templates) -> tuple[str, ...]:
    """Read prompt templates; None gives the default, "a photo of a {}.".

    A .txt file has one template per line, a .json file a list, a .toml file a key `templates`.

    Raises:
        UserError: for an empty list, and for a template without "{}".
    """
    if templates is None:
        return DEFAULT_TEMPLATES
    content: Any
    if isinstance(templates, (str, Path)):
        where = f"The templates file {templates}"
        content = _read(Path(templates), "templates", where)
        if isinstance(content, Mapping):
            raise UserError(f"{where} must hold a list of templates.")
    else:
        where, content = "The list of templates", list(templates)
    if not content:
        raise UserError(f"{where} is empty.")
    for template in content:
        if not isinstance(template, str) or "{}" not in template:
            raise UserError(f"{where} has {template!r}, which has no '{{}}' for the class name.")
        check_text(template, "template")
    return tuple(content)


def _read(path: Path, key: str, where: str) -> list[Any] | dict[str, Any]:
    """Return the list or dictionary in a .txt, .json or .toml file."""
    path = user_path(path)
    try:
        suffix = path.suffix.lower()
        text = unicodedata.normalize("NFC", read_text(path, "utf-8-sig"))
        if suffix == ".txt":
            return _lines(text, where) if key == "classnames" else [line.strip() for line in text.splitlines() if line.strip()]
        if suffix == ".json":
            content = json.loads(text)
        elif suffix == ".toml":
            content = tomllib.loads(text)
        else:
            raise UserError(
                f"{where} must end in .txt, .json or .toml; in a .txt file each line has a name, or folder<TAB>name."
            )
    except FileNotFoundError as error:
        raise UserError(f"{where} is missing.") from error
    except UserError:
        raise
    # Both parsers raise ValueError, also for very long numbers, and RecursionError for deeply nested brackets.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read: {first_line(error)}.") from error
    if path.suffix.lower() == ".toml":
        if key not in content:
            raise UserError(f"{where} has no key {key!r}.")
        content = content[key]
    if not isinstance(content, (list, dict)):
        raise UserError(f"{where} must hold a list or a table, not {type(content).__name__}.")
    return content


def _lines(text: str, where: str) -> list[Any] | dict[str, Any]:
    """Return the names of a text with one name, or one `folder<TAB>name`, per line. Blank lines are left out."""
    lines = [(number, line.strip("\r\n")) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not any("\t" in line.strip() for _, line in lines):
        return [line for _, line in lines]
    named: dict[str, Any] = {}
    for number, line in lines:
        key, _, name = (part.strip() for part in line.partition("\t"))
        if not (key and name):
            raise UserError(f"{where} has no 'folder<TAB>name' in line {number}, but in other lines.")
        if key in named:
            raise UserError(f"{where} names {key!r} again in line {number}.")
        named[key] = name
    return named
