"""The settings of a configuration class by name, and checks of their values. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from harness.config.run_config import RunConfig
from harness.config.user_file import is_file
from models.registry import UserError, check_text, unknown
from models.setting import Setting, check_range, described


def declared(kind: type) -> dict[str, Setting]:
    """Return the settings of a configuration class. A field without a description has that of `RunConfig`."""
    shared, own = described(RunConfig), described(kind)
    return {field.name: own.get(field.name) or shared[field.name] for field in dataclasses.fields(kind)}


def in_identity(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the identity of a run contains, out of all settings of `RunConfig` by name."""
    return {
        name: values[name]
        for name, s in declared(RunConfig).items()
        if s.identity and values[name] != s.usual and values[name] not in s.equals
    }


def flag_of(name: str, setting: Setting) -> str:
    """Return the flag of a setting: `--measure-n` for measure_n."""
    return setting.flag or f"--{name.replace('_', '-')}"


def check_values(config: Any) -> None:
    """Check the settings of a configuration one by one: unknown names, numbers out of range, texts that records cannot hold.

    Args:
        config: an instance of a configuration class.

    Raises:
        UserError: for the first value that is not valid, naming the flag or the valid names.
    """
    for name, setting in declared(type(config)).items():
        value, flag = getattr(config, name), flag_of(name, setting)
        if isinstance(value, dict):
            for option, text in value.items():
                _check_text(text, f"value of {flag} {option}=")
            continue
        for item in value if isinstance(value, tuple) else (value,):
            _check_text(item, f"value of {flag}")
            if setting.choices is not None and item is not None and not (setting.code and is_file(item)):
                valid = setting.choices()
                if item not in valid:
                    raise unknown(setting.noun or name, item, valid)
            try:
                check_range(flag, item, setting)
            except ValueError as error:
                raise UserError(f"{error}.") from error
        if name == "device":
            check_device(value)


def _check_text(text: Any, what: str) -> None:
    if isinstance(text, str):
        check_text(text, what)


def check_device(name: str) -> None:
    """Raise UserError for a text that cannot be a device. Whether the device exists is checked on the machine of the run."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.")


def check_distinct_items(names: tuple[Any, ...], flag: str) -> None:
    """Raise UserError when a list flag has a value twice."""
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise UserError(f"{flag} names {', '.join(twice)} twice.")
