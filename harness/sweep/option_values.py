"""Several values of an option in `--set` or `--space`. Imports neither torch nor a user's code.

A comma separates the values of an option that takes a number, a switch or one of a few names. In an option that takes a text or
a list, a comma is part of the value. Every option may be given several times, once per value.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.names import split_names
from harness.config.options import MOST_SEEDS, parse_assignments
from harness.config.user_file import file_of, is_file
from models.files import read_text
from models.registry import UserError
from models.setting import value_types

SINGLE = (int, float, bool, Literal)
"""Types of options whose values have no comma."""
SINGLE_ANNOTATION = re.compile(r"(int|float|bool|Literal\[.*\])( \| None)?")
"""The same types as annotations in a file that is not run."""


class Choice(NamedTuple):
    """One combination of values: the words of `--set`, and those of them that differ between the combinations."""

    words: tuple[str, ...]
    varied: tuple[str, ...]


def combinations(words: Sequence[str], has_commas: Callable[[str], bool], flag: str = "--set") -> list[Choice]:
    """Return every combination of the values in the words of `--set`, the last option varying fastest.

    Args:
        words: the words, `name=value`.
        has_commas: returns whether the values of an option may have commas.
        flag: the flag, for messages.

    Raises:
        UserError: for a word without "=", and for more combinations than a command may have runs.
    """
    values = listed_values(words, has_commas, flag)
    count = math.prod(map(len, values.values()))
    if count > MOST_SEEDS:
        raise UserError(f"{flag} gives {count:,} combinations of values; a command takes at most {MOST_SEEDS:,} runs.")
    varied = {name for name, texts in values.items() if len(texts) > 1}
    result = []
    for texts in itertools.product(*values.values()):
        pairs = list(zip(values, texts, strict=True))
        result.append(Choice(tuple(map("=".join, pairs)), tuple(f"{n}={text}" for n, text in pairs if n in varied)))
    return result


def listed_values(words: Sequence[str], has_commas: Callable[[str], bool], flag: str) -> dict[str, list[str]]:
    """Return the distinct values of each option in the order of the words. Raises UserError for a word without "="."""
    values: dict[str, list[str]] = {}
    for word in words:
        for name, text in parse_assignments([word], flag).items():
            items = [text] if has_commas(name) else split_names(text) or [text]
            values[name] = list(dict.fromkeys([*values.get(name, ()), *items]))
    return values


def may_have_commas(hint: Any) -> bool:
    """Return whether the values of an option of this type may have commas. An unknown type (None) may."""
    return hint is None or not all(kind in SINGLE for kind in value_types(hint))


def comma_rule(strategy: str, tuning: str | None, plugins: Sequence[str]) -> Callable[[str], bool]:
    """Return the function that says whether the values of an option may have commas, for the options of one strategy.

    The types of a file's options are read from its source, because a sweep that shows its state runs no code.
    """

    def rule(name: str) -> bool:
        option, dot, key = name.partition(".")
        if option == "tuning":
            return _in_class(key, lambda: _tuning_hints(strategy, tuning), tuning)
        if option in plugins:
            return may_have_commas(_plugin_hints(option).get(key))
        if dot:
            hint = _strategy_hints(strategy).get(option)
            return may_have_commas(typing.get_args(hint)[1] if typing.get_origin(hint) is Mapping else None)
        return _in_class(option, lambda: _strategy_hints(strategy), strategy)

    return rule


def _in_class(option: str, hints: Callable[[], Mapping[str, Any]], reference: str | None) -> bool:
    if reference is not None and is_file(reference) and (annotation := _annotation(reference, option)) is not None:
        return SINGLE_ANNOTATION.fullmatch(annotation) is None
    return may_have_commas(hints().get(option))


def _annotation(reference: str, option: str) -> str | None:
    """Return the annotation of a field of any class in a file of code, as text; None if no class has that field."""
    try:
        tree = ast.parse(read_text(file_of(reference)))
    except (OSError, SyntaxError, ValueError):
        return None
    fields: Iterator[ast.AnnAssign] = (node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign))
    texts = [ast.unparse(f.annotation) for f in fields if isinstance(f.target, ast.Name) and f.target.id == option]
    return texts[-1] if texts else None


def _strategy_hints(strategy: str) -> dict[str, Any]:
    """Return the types of a strategy's options. Those of a file or of another package are looked up in the built-in ones."""
    from strategies import TARGETS
    from strategies.engine.declared import declared

    hints: dict[str, Any] = {}
    for name in [strategy] if strategy in TARGETS else TARGETS:
        hints = {**typing.get_type_hints(declared(name).Options), **hints}
    return hints


def _tuning_hints(strategy: str, tuning: str | None) -> dict[str, Any]:
    from models.tuning_options import REGISTRY, options_of
    from strategies import TARGETS
    from strategies.engine.declared import declared

    name = tuning or (declared(strategy).default_tuning if strategy in TARGETS else "full")
    return typing.get_type_hints(options_of(name)) if name in REGISTRY else {}


def _plugin_hints(plugin: str) -> dict[str, Any]:
    from strategies.plugins.built_in import PLUGINS, options_of

    return typing.get_type_hints(options_of(plugin)) if plugin in PLUGINS else {}
