"""A strategy's options, from a benchmark's settings and what the user changes."""

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

# An option given by the user switches off the one that would hide it.
HIDDEN_BY = {"iterations": ("epochs", 0), "lr": ("lr_by_task", {})}

LARGEST_FLOAT = 3.4028234663852886e38
LARGEST_INT = 2**63 - 1

# What a benchmark sets for every method that comes with the project.
BUDGET = {"iterations", "epochs", "batch_size", "lr", "lr_by_task", "warmup"}


def merged(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file or record with those of the command line over them, which hide no less for that."""
    off = {hidden: value for name, (hidden, value) in HIDDEN_BY.items() if name in given and hidden in recorded}
    return {**recorded, **off, **given}


def make_options(strategy_class: Any, settings: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]) -> Any:
    """The strategy's options: class defaults, then the benchmark's settings for it and its bases, then the user's changes.

    `iterations` or `lr` among the changes win over a benchmark's `epochs` or `lr_by_task`, not over the user's own. A table
    is changed as a whole or by `name.key`.

    `strategy_class`: a class or a declaration (`strategies.engine.declared`).

    Raises UserError for an unknown key (listing the valid ones) or a value of the wrong kind or range.
    """
    options_class = strategy_class.Options
    if "__dataclass_fields__" not in vars(options_class):
        raise UserError(f"{strategy_class.__name__}.Options needs @dataclass(frozen=True) above it.")
    hints = typing.get_type_hints(options_class)
    valid = [f.name for f in dataclasses.fields(options_class)]
    values = _settings_of(strategy_class, settings)
    for name, (hidden, off) in HIDDEN_BY.items():
        if name in changes:
            values[hidden] = off
    for name, value in changes.items():
        field, dot, key = name.partition(".")
        if field not in valid:
            raise unknown("option", field, valid)
        if not dot:
            values[field] = convert(name, value, hints[field])
        elif typing.get_origin(hints[field]) is Mapping:
            values[field] = {**values.get(field, {}), key: convert(name, value, typing.get_args(hints[field])[1])}
        else:
            raise UserError(f"{field} is a single value, not a table: {name} has no meaning.")
    try:
        return options_class(**values)
    except ValueError as error:
        raise UserError(f"{error}.") from error


def split(changes: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes without, and with (and then less) a dotted prefix."""
    without = {name: value for name, value in changes.items() if not name.startswith(f"{prefix}.")}
    return without, {name.removeprefix(f"{prefix}."): v for name, v in changes.items() if name not in without}


def tuning_options(tuning: str, changes: Mapping[str, Any]) -> Any:
    """The options of a tuning (`models.tuning_options.options_of`): its defaults, then the user's changes.

    Raises UserError for an unknown key or a value of the wrong kind or range.
    """
    from models.tuning_options import options_of

    return _filled(options_of(tuning), changes, "tuning", f"tuning {tuning}")


def plugin_options(names: Sequence[str], changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes that are no plugin's, and the options of each plugin (`strategies.plugins.built_in.options_of`).

    Raises UserError for an unknown key, a value of the wrong kind or range, and options of a plugin that is not used.
    """
    from strategies.plugins.built_in import PLUGINS, options_of

    found = {}
    for name in PLUGINS:
        changes, own = split(changes, name)
        if name in names:
            found[name] = _filled(options_of(name), own, name, f"plugin {name}")
        elif own:
            raise UserError(f"{name}.{next(iter(own))} is an option of the plugin {name}: add --plugin {name}.")
    return dict(changes), {name: found[name] for name in names}


def _filled(kind: Any, changes: Mapping[str, Any], prefix: str, whose: str) -> Any:
    hints = typing.get_type_hints(kind)
    for name in changes:
        if name not in hints:
            raise unknown(f"option of the {whose}", name, hints)
    try:
        return kind(**{name: convert(f"{prefix}.{name}", value, hints[name]) for name, value in changes.items()})
    except ValueError as error:
        raise UserError(str(error).rstrip(".") + ".") from error


def _settings_of(strategy_class: Any, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Those of the class and of the built-in classes that it derives from, the base's first.

    An option that a class defines itself is not set by what the benchmark has for a base of it. Two exceptions: the budget and
    the learning rate, which a benchmark sets for all methods that come with the project, so that they compare, and which a
    user's own class keeps where it defines them.
    """
    found: dict[str, Any] = {}
    bases = {f"{base.__module__}:{base.__qualname__}": base for base in strategy_class.__mro__}
    for name, options in settings.items():
        if name not in TARGETS:
            raise unknown("strategy", name, TARGETS)
        base = bases.get(TARGETS[name])
        if base is not None:
            kept = _defined_after(strategy_class, base)
            found.update({option: value for option, value in options.items() if option not in kept})
    return found


def _defined_after(strategy_class: Any, base: Any) -> set[str]:
    """The options that classes between a strategy and a base of it, the strategy included, define so that they stay."""
    kept: set[str] = set()
    for each in strategy_class.__mro__[: strategy_class.__mro__.index(base)]:
        options = vars(each).get("Options")
        defines = options is not None and options is not super(each, each).Options
        own = set(vars(options).get("__annotations__", ())) if defines else set()
        if is_built_in(each):
            own -= BUDGET
        else:
            own |= {hidden for name, (hidden, _) in HIDDEN_BY.items() if name in own}
        kept |= own
    return kept


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


MOST_SEEDS = 10_000
"""Our choice: each is a run, and all of them are checked before the first is started."""


def seeds_in(given: Sequence[str], flag: str = "--seeds") -> list[int]:
    """Return the seeds in the words of a flag: whole numbers and ranges (`0-4`), separated by blanks or commas.

    Raises UserError.
    """
    found: list[int] = []
    for word in names_from_words(given):
        # No seed has more digits than 2 to the 64th.
        match = re.fullmatch(r"(\d{1,20})(?:-(\d{1,20}))?", word)
        if re.fullmatch(r"-\d{1,20}", word):
            raise UserError(f"{flag} must be at least 0, got {word}; write 0,1,2 or 0-4.")
        if match is None:
            raise UserError(f"{flag} takes whole numbers and ranges such as 0,1,2 or 0-4, got {word!r:.40}.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{flag} {word} runs backwards: write {last}-{first}.")
        if len(found) + last - first >= MOST_SEEDS:
            raise UserError(f"{flag} takes at most {MOST_SEEDS} seeds, and with {word} there are more.")
        found += range(first, last + 1)
    return found


def convert(name: str, value: Any, kind: Any) -> Any:
    """A value from the command line or a file as the option's type. Lists and tuples may be joined by commas."""
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
        choices = typing.get_args(kind)
        for choice in choices:
            if str(choice) == str(value):
                return choice
        raise unknown(f"value of {name}", str(value), [str(c) for c in choices])
    if origin in (typing.Union, types.UnionType):
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        if len(inner) < len(typing.get_args(kind)) and (value is None or str(value).lower() == "none"):
            return None
        # A list for the list among several, anything else for the first.
        listed = [k for k in inner if typing.get_origin(k) is list]
        return convert(name, value, listed[0] if listed and isinstance(value, list) else inner[0])
    if kind is bool:
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if str(value).lower() not in words:
            raise UserError(f"{name} takes true or false, got {value!r}.")
        return words[str(value).lower()]
    try:
        whole_number = not isinstance(value, float) or value.is_integer()
        if isinstance(value, (list, dict)) or (kind is int and (isinstance(value, bool) or not whole_number)):
            raise ValueError
        found = kind(value)
        if isinstance(found, float) and not math.isfinite(found):
            raise ValueError
        if isinstance(found, (int, float)) and abs(found) > (LARGEST_FLOAT if isinstance(found, float) else LARGEST_INT):
            largest = f"{LARGEST_FLOAT:.1e} (float32)" if isinstance(found, float) else f"{LARGEST_INT:,}"
            raise UserError(f"{name} is out of range: {str(value)[:40]}; numbers go up to {largest}.")
        return found
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        word = {int: "a whole number", float: "a finite number"}.get(kind, getattr(kind, "__name__", str(kind)))
        raise UserError(f"{name} takes {word}, got {value!r}.") from error
