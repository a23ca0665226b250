"""Options of a strategy, a tuning or a plugin: the benchmark's settings and the user's changes, converted and checked."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.names import names_from_words, split_names
from models.registry import UserError, unknown
from strategies import TARGETS
from strategies.engine.method_checks import is_built_in

OVERRIDDEN_BY = {"iterations": ("epochs", 0), "lr": ("lr_by_task", {})}
"""Options that the user's value of another option switches off, with the value that means off."""
BUDGET = {"iterations", "epochs", "batch_size", "lr", "lr_by_task", "warmup"}
"""Options that a benchmark sets for every built-in method, so that methods compare."""
LARGEST_FLOAT = 3.4028234663852886e38
LARGEST_INT = 2**63 - 1
MOST_SEEDS = 10_000
"""The largest number of seeds in one command (our choice). All runs are checked before the first one starts."""


def merge_options(recorded: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file or record with those of the command line, which take precedence.

    `iterations` or `lr` on the command line also switches off `epochs` or `lr_by_task` in the file.
    """
    off = {other: value for name, (other, value) in OVERRIDDEN_BY.items() if name in changes and other in recorded}
    return {**recorded, **off, **changes}


def make_options(strategy_class: Any, settings: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> Any:
    """Return a strategy's options: the class's defaults, then the benchmark's settings, then the user's changes.

    `iterations` or `lr` among the changes switches off the benchmark's `epochs` or `lr_by_task`, but not the user's own.

    Args:
        strategy_class: a strategy class or its declaration (`strategies.engine.declared`).
        settings: the benchmark's options by strategy name. Those of base classes hold too.
        changes: the user's values by option name. `name.key` changes one entry of a table.

    Raises:
        UserError: for an unknown option, with the valid ones, and for a value of the wrong type or out of range.
    """
    options_class = strategy_class.Options
    if "__dataclass_fields__" not in vars(options_class):
        raise UserError(f"{strategy_class.__name__}.Options needs @dataclass(frozen=True) above it.")
    hints = typing.get_type_hints(options_class)
    names = [field.name for field in dataclasses.fields(options_class)]
    values = _benchmark_values(strategy_class, settings)
    for name, (other, off) in OVERRIDDEN_BY.items():
        if name in changes:
            values[other] = off
    for name, value in changes.items():
        option, dot, key = name.partition(".")
        if option not in names:
            raise unknown("option", option, names)
        if not dot:
            values[option] = convert(name, value, hints[option])
        elif typing.get_origin(hints[option]) is Mapping:
            values[option] = {**values.get(option, {}), key: convert(name, value, typing.get_args(hints[option])[1])}
        else:
            raise UserError(f"{option} takes a single value; {name} is not valid.")
    try:
        return options_class(**values)
    except ValueError as error:
        raise UserError(str(error).rstrip(".") + ".") from error


def split_prefix(changes: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split changes into those without `prefix.` and those with it, whose prefix is removed."""
    others = {name: value for name, value in changes.items() if not name.startswith(f"{prefix}.")}
    return others, {name.removeprefix(f"{prefix}."): value for name, value in changes.items() if name not in others}


def tuning_options(tuning: str, changes: Mapping[str, Any], kind: type | None = None) -> Any:
    """Return the options of a tuning with the user's changes.

    Args:
        tuning: the name of the tuning.
        changes: the user's values by option.
        kind: the class of the options; None: that of `models.tuning_options.options_of`.

    Raises UserError for an unknown option and for a value of the wrong type or out of range.
    """
    from models.tuning_options import options_of

    return _filled(kind or options_of(tuning), changes, "tuning", f"tuning {tuning}")


def plugin_options(names: Sequence[str], changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes that belong to no plugin, and the options of each named plugin (`strategies.plugins.built_in`).

    Raises UserError for an unknown option, a value of the wrong type or out of range, and an option of an unused plugin.
    """
    from strategies.plugins.built_in import PLUGINS, options_of

    options = {}
    others = dict(changes)
    for name in PLUGINS:
        others, own_changes = split_prefix(others, name)
        if name in names:
            options[name] = _filled(options_of(name), own_changes, name, f"plugin {name}")
        elif own_changes:
            raise UserError(f"{name}.{next(iter(own_changes))} is an option of the plugin {name}: add --plugin {name}.")
    return others, {name: options[name] for name in names}


def _filled(kind: Any, changes: Mapping[str, Any], prefix: str, owner: str) -> Any:
    hints = typing.get_type_hints(kind)
    for name in changes:
        if name not in hints:
            raise unknown(f"option of the {owner}", name, hints)
    try:
        return kind(**{name: convert(f"{prefix}.{name}", value, hints[name]) for name, value in changes.items()})
    except ValueError as error:
        raise UserError(str(error).rstrip(".") + ".") from error


def _benchmark_values(strategy_class: Any, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a benchmark's options for a class and for the built-in classes that it derives from, the base's first.

    A benchmark's option for a base does not replace the default of a subclass that defines it. The budget and the learning
    rate are exceptions in built-in subclasses, so that methods compare. A user's own class keeps them where it defines them.
    """
    values: dict[str, Any] = {}
    bases = {f"{base.__module__}:{base.__qualname__}": base for base in strategy_class.__mro__}
    for name, options in settings.items():
        if name not in TARGETS:
            raise unknown("strategy", name, TARGETS)
        base = bases.get(TARGETS[name])
        if base is not None:
            redefined = _redefined(strategy_class, base)
            values.update({option: value for option, value in options.items() if option not in redefined})
    return values


def _redefined(strategy_class: Any, base: Any) -> set[str]:
    """Return the options that a strategy, or a class between it and a base, defines so that the base's settings do not hold."""
    redefined: set[str] = set()
    for each in strategy_class.__mro__[: strategy_class.__mro__.index(base)]:
        options = vars(each).get("Options")
        defines = options is not None and options is not super(each, each).Options
        names = set(vars(options).get("__annotations__", ())) if defines else set()
        if is_built_in(each):
            names -= BUDGET
        else:
            names |= {other for name, (other, _) in OVERRIDDEN_BY.items() if name in names}
        redefined |= names
    return redefined


def parse_assignments(assignments: Sequence[str], flag: str = "--set") -> dict[str, str]:
    """Return `key=value` strings as a dict. Raises UserError, naming the flag, for a string without "=" or a key."""
    parsed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UserError(f"{flag} takes key=value, got {assignment!r}.")
        option, dot, key = name.strip().partition(".")
        parsed[option.replace("-", "_") + dot + key] = value.strip()
    return parsed


def seeds_in(words: Sequence[str], flag: str = "--seeds") -> list[int]:
    """Return the seeds in the words of a flag: whole numbers and ranges (`0-4`), separated by blanks or commas.

    Raises UserError, naming the flag.
    """
    seeds: list[int] = []
    for word in names_from_words(words):
        # A seed below 2 to the 64th has at most 20 digits.
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", word)
        if re.fullmatch(r"-\d{1,20}", word):
            raise UserError(f"{flag} must be at least 0, got {word}; write 0,1,2 or 0-4.")
        if match is None:
            raise UserError(f"{flag} takes whole numbers and ranges such as 0,1,2 or 0-4, got {word!r:.40}.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{flag} {word} is in descending order: write {last}-{first}.")
        count = len(seeds) + last - first + 1
        if count > MOST_SEEDS:
            raise UserError(f"{flag} takes at most {MOST_SEEDS:,} seeds; with {word} there are {count:,}.")
        seeds += range(first, last + 1)
    return seeds


def convert(name: str, value: Any, kind: Any) -> Any:
    """Convert a value from the command line or a file to an option's type. A list may be one text, joined by commas.

    Args:
        name: the option, for messages.
        value: a text, or a value from TOML or JSON.
        kind: a type hint. `Any` takes every value as it is.

    Raises:
        UserError: for a value of another type, naming the option and what it takes.
    """
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if kind is dict:
        if not isinstance(value, dict):
            raise UserError(f"{name} takes a table of options, got {value!r}.")
        return value
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise UserError(f"{name} takes a table, {name}.KEY=VALUE on the command line, got {value!r}.")
        return {str(key): convert(f"{name}.{key}", item, typing.get_args(kind)[1]) for key, item in value.items()}
    if origin in (list, tuple):
        items = value if isinstance(value, (list, tuple)) else split_names(str(value))
        return origin(convert(name, item, typing.get_args(kind)[0]) for item in items)
    if origin is typing.Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if str(value) not in choices:
            raise unknown(f"value of {name}", str(value), choices)
        return choices[str(value)]
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        if len(members) < len(typing.get_args(kind)) and (value is None or str(value).lower() == "none"):
            return None
        # A list is converted to the list among several types, any other value to the first type.
        lists = [member for member in members if typing.get_origin(member) is list]
        return convert(name, value, lists[0] if lists and isinstance(value, list) else members[0])
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        if str(value).lower() not in words:
            raise UserError(f"{name} takes true or false, got {value!r}.")
        return words[str(value).lower()]
    return _converted(name, value, kind)


def _converted(name: str, value: Any, kind: type) -> Any:
    """Convert a value to a text, a whole number or a finite number that float32 or int64 can hold."""
    try:
        whole = not isinstance(value, float) or value.is_integer()
        if isinstance(value, (list, dict)) or (kind is int and (isinstance(value, bool) or not whole)):
            raise ValueError
        converted = kind(value)
        if isinstance(converted, float) and not math.isfinite(converted):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        word = {int: "a whole number", float: "a finite number"}.get(kind, getattr(kind, "__name__", str(kind)))
        raise UserError(f"{name} takes {word}, got {value!r}.") from error
    if isinstance(converted, (int, float)):
        largest = LARGEST_FLOAT if isinstance(converted, float) else LARGEST_INT
        if abs(converted) > largest:
            shown = f"{LARGEST_FLOAT:.1e} (float32)" if isinstance(converted, float) else f"{LARGEST_INT:,}"
            raise UserError(f"{name} is out of range: {str(value)[:40]}; numbers go up to {shown}.")
    return converted
