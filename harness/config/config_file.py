"""Read a configuration file: TOML, or the `run.json` of a run."""

from __future__ import annotations

import json
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.names import names_from_words
from harness.config.options import convert, seeds_in
from harness.config.run_config import RunConfig
from harness.config.settings import declared
from models.files import descriptor, read_text, reason
from models.registry import UserError, first_line, unknown
from models.setting import Setting, value_types


def read_file(path: str) -> dict[str, Any]:
    """Return the settings in a configuration file, by field name of `RunConfig`. `seed` may be a list.

    Raises UserError, naming the file, for a file that cannot be read or is not valid, an unknown setting and a value of the
    wrong type.
    """
    file = Path(path)
    try:
        text = _text(path)
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        if file.suffix == ".json" and isinstance(values, dict):
            values = values.get("request", values)
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}, not a table of settings")
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {reason(error)}.") from error
    # Both parsers raise ValueError, also for huge numbers, and RecursionError for deeply nested brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"The configuration {path} is not valid: {first_line(error)}.") from error
    _check_known(values, f"setting in {path}")
    try:
        return _converted(values)
    except UserError as error:
        raise UserError(f"In the configuration {path}: {error}") from error


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of Python code as the types of the fields of `RunConfig`, without those that are None.

    Raises UserError for an unknown setting and a value of the wrong type.
    """
    _check_known(values, "setting")
    return _converted(values)


def _check_known(values: Mapping[str, Any], kind: str) -> None:
    settings = declared(RunConfig)
    for name in (name for name, value in values.items() if value is not None):
        if name not in settings:
            raise unknown(kind, name, settings)


def _converted(values: Mapping[str, Any]) -> dict[str, Any]:
    settings, hints = declared(RunConfig), typing.get_type_hints(RunConfig)
    root = convert("data_root", values.get("data_root") or "data", str)
    return {name: _value(name, value, settings[name], hints[name], root) for name, value in values.items() if value is not None}


def _value(name: str, value: Any, setting: Setting, hint: Any, data_root: str) -> Any:
    """Return a value of a file as the setting's type. A list may also be a text of names joined by commas."""
    if setting.items == "seeds":
        if isinstance(value, str):
            return seeds_in([value], name)
        return [convert(name, item, int) for item in value] if isinstance(value, list) else convert(name, value, int)
    if setting.items is not None and isinstance(value, (list, tuple)):
        return tuple(convert(name, item, str) for item in value)
    if setting.items is not None and str not in value_types(hint):
        return names_from_words([convert(name, value, str)], data_root if setting.items == "data" else None)
    return convert(name, value, dict if name == "options" else hint)


def _text(path: str) -> str:
    """Return the text of a file. That of a pipe (`--config <(...)`), which can be read only once, is kept."""
    if path not in _piped:
        text = read_text(path)
        if descriptor(path) is None:
            return text
        _piped[path] = text
    return _piped[path]


_piped: dict[str, str] = {}
