"""Flags of the command line from the settings of a configuration class, and their values as settings."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from benchmarks.names import names_from_words
from harness.config.options import parse_assignments, seeds_in
from harness.config.settings import declared, flag_of
from models.setting import Setting, value_types

GROUPS = ("data", "model", "training", "evaluation", "output")
"""Headings of `--help` in order. Others come first."""


def add_flags(parser: argparse.ArgumentParser, kind: type, only: Collection[str] | None = None, hidden: bool = False) -> None:
    """Add the flags of a configuration class to a parser, grouped by subject.

    A flag that is not given is parsed as None, or as False if it is a switch that is off by default.

    Args:
        parser: the parser of a command.
        kind: a configuration class, whose fields are settings.
        only: the fields to add; None: all of them.
        hidden: leave the flags out of `--help`.
    """
    settings = {name: setting for name, setting in declared(kind).items() if only is None or name in only}
    if not hidden:
        titles = dict.fromkeys(setting.group for setting in settings.values())
        for title in sorted(titles, key=lambda title: GROUPS.index(title) if title in GROUPS else -1):
            group_of(parser, title)
    hints, defaults = typing.get_type_hints(kind), {field.name: field.default for field in dataclasses.fields(kind)}
    for name, setting in settings.items():
        flag = flag_of(name, setting)
        details = _details(setting, hints[name], defaults[name])
        if hidden:
            details["help"] = argparse.SUPPRESS
        if flag.startswith("-"):
            details["dest"] = name
        place = parser if hidden or not flag.startswith("-") else group_of(parser, setting.group)
        place.add_argument(flag, **details)


def group_of(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """Return the group of a parser with that title, which is added if the parser does not have it."""
    known = {group.title: group for group in parser._action_groups}
    return known[title] if title in known else parser.add_argument_group(title)


def add_output(parser: argparse.ArgumentParser, csv: str = "", quiet: str = "print nothing but errors") -> None:
    """Add `--csv` with the help text `csv`, unless that is empty, and `--quiet`."""
    output = group_of(parser, "output")
    if csv:
        output.add_argument("--csv", metavar="FILE", help=csv)
    output.add_argument("--quiet", action="store_true", help=quiet)


def _details(setting: Setting, hint: Any, default: Any) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a setting."""
    kinds, details = value_types(hint), {"help": setting.help, "metavar": setting.metavar}
    if bool in kinds:
        switch = {"action": "store_false", "default": None} if default is True else {"action": "store_true", "default": False}
        return {"help": setting.help, **switch}
    if setting.items == "words":
        return {**details, "nargs": "+", "action": "extend"}
    if setting.items is not None:
        return {**details, "nargs": setting.nargs or "+"}
    if Mapping in kinds:
        return {**details, "nargs": "+", "action": "extend"}
    if setting.nargs is not None:
        details["nargs"] = setting.nargs
    if str in kinds and int in kinds:
        return {**details, "type": _number_or_text}
    return details if str in kinds else {**details, "type": kinds[0]}


def _number_or_text(word: str) -> int | str:
    """Return a word as a whole number if it is one."""
    try:
        return int(word)
    except ValueError:
        return word


def read_flags(arguments: argparse.Namespace, kind: type, data_root: str | None = None) -> dict[str, Any]:
    """Return the settings that were given as flags, by field name.

    Words of list flags are separated by commas and blanks alike (`benchmarks.names.names_from_words`).

    Args:
        arguments: parsed flags of `add_flags`.
        kind: the configuration class.
        data_root: the folder of the papers' datasets if `--data-root` is not given; None: the default.

    Raises:
        UserError: for seeds that are not whole numbers or ranges, and for a KEY=VALUE without "=".
    """
    hints, settings = typing.get_type_hints(kind), dict[str, Any]()
    root = getattr(arguments, "data_root", None) or data_root or "data"
    for name, setting in declared(kind).items():
        value = getattr(arguments, name, None)
        if value is None:
            continue
        if setting.items == "seeds":
            value = tuple(dict.fromkeys(seeds_in(value, flag_of(name, setting))))
        elif setting.items == "words":
            value = tuple(value)
        elif setting.items is not None:
            one_text = len(value) == 1 and str in value_types(hints[name])
            value = value[0] if one_text else names_from_words(value, root if setting.items == "data" else None)
        elif isinstance(value, list):
            value = parse_assignments(value, flag_of(name, setting))
        settings[name] = value
    return settings
