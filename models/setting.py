"""Declare a setting in one place: a dataclass field that carries its help text, its range and its role in a run's record.

Options of strategies and settings of runs are both declared this way. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ALWAYS = object()
"""As `usual`: the identity always contains the setting."""


@dataclass(frozen=True)
class Setting:
    """The description of a setting. The dataclass field has its name, type and default.

    Attributes:
        help: one line for `--help` and `list strategies NAME`.
        group: the heading of the flag in `--help`: data, model, training, evaluation, output or another one.
        metavar: the placeholder of the value in `--help`.
        flag: the flag if it is not `--` and the name of the field; without dashes it is a positional argument.
        nargs: the number of words as argparse counts them, if it is neither one nor, for a list, at least one.
        items: for a list flag, what its words are: "names", "data" (names that may be paths), "seeds", or "words", which are
            taken as they are.
        choices: returns the valid names. It is a function so that registries are read late.
        code: the value may also be FILE.py:Class.
        noun: what one value is called in messages, if it is not the name of the field.
        least: the smallest valid number.
        most: the largest valid number.
        above: a number that every valid number exceeds.
        below: a number that exceeds every valid number.
        recorded: `request` in run.json repeats the setting.
        identity: the setting decides the numbers of a run, so the identity and the key contain it.
        usual: the value that stays out of the identity, also of a strategy's option. Runs from before the setting existed
            keep their keys.
        equals: other values that give exactly the numbers of `usual`, and stay out of the identity too.
        banner: a line for the banner of a run, with {} for the value.
        title: words for the title of a leaderboard table, with {} for the value. The leaderboard then has a column for it.
    """

    help: str
    group: str = "training"
    metavar: str | None = None
    flag: str = ""
    nargs: str | None = None
    items: Literal["names", "data", "seeds", "words"] | None = None
    choices: Callable[[], Iterable[str]] | None = None
    code: bool = False
    noun: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    recorded: bool = True
    identity: bool = False
    usual: Any = ALWAYS
    equals: tuple[Any, ...] = ()
    banner: str = ""
    title: str = ""


def setting(default: Any, help: str, **details: Any) -> Any:
    """Return a dataclass field with a description.

    Example:
        shots: int | None = setting(None, "few-shot: train on N images per class", metavar="N", least=1, identity=True)

    Args:
        default: the default value, `dataclasses.MISSING` for a required field. A dict is copied for each instance.
        help: one line for `--help`.
        details: other attributes of `Setting`.
    """
    metadata = {"setting": Setting(help, **details)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def described(kind: type) -> dict[str, Setting]:
    """Return the settings of a dataclass by field name, in the order of its fields.

    A field that only gives a setting of a base class another default keeps its description. A field that is nowhere declared
    with `setting` has no entry.
    """
    fields = [field for each in reversed(kind.__mro__) for field in vars(each).get("__dataclass_fields__", {}).values()]
    found = {field.name: field.metadata["setting"] for field in fields if "setting" in field.metadata}
    return {field.name: found[field.name] for field in dataclasses.fields(kind) if field.name in found}


def without_usual(options: Any) -> dict[str, Any]:
    """Return the values of a dataclass of settings by name, without those that are their setting's `usual` value."""
    return without_usual_values(type(options), dataclasses.asdict(options))


def without_usual_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a dataclass of settings by name, without those that are their setting's `usual` value.

    Records from before a setting existed lack it. Without usual values they equal the records of today.
    """
    usual = {name: setting.usual for name, setting in described(kind).items()}
    # As JSON keeps them: a tuple is a list.
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {name: value for name, value in plain.items() if value != usual.get(name, ALWAYS)}


def check_ranges(options: Any, prefix: str = "") -> None:
    """Raise ValueError for a number of a dataclass instance that is out of its range.

    Args:
        options: an instance of a dataclass of settings.
        prefix: what the message writes before the name of the field.
    """
    for name, setting in described(type(options)).items():
        check_range(prefix + name, getattr(options, name), setting)


def check_range(name: str, value: Any, setting: Setting) -> None:
    """Raise ValueError for a number outside the range of its setting, and for one that is not finite.

    None and values that are not numbers pass. Of a mapping every value is checked.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_range(f"{name}.{key}", item, setting)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    for limit, words, holds in (
        (setting.least, "at least", operator.ge),
        (setting.most, "at most", operator.le),
        (setting.above, "greater than", operator.gt),
        (setting.below, "less than", operator.lt),
    ):
        if limit is not None and not holds(value, limit):
            raise ValueError(f"{name} must be {words} {limit:,}, got {value}")


def value_types(hint: Any) -> list[type]:
    """Return the types of a hint without None and without their arguments: [str, tuple] for `str | tuple[str, ...] | None`."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return [typing.get_origin(member) or member for member in members if member is not type(None)]
