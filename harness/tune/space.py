"""The options that a search varies: `--space l2=log:0.01:10 lr=1e-5,1e-4 iterations=int:20:80`."""

from __future__ import annotations

import difflib
import itertools
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.config.options import convert
from harness.sweep.option_values import listed_values, may_have_commas
from models.registry import UserError, unknown
from models.setting import value_types

RANGE = re.compile(r"([a-z]+):([^:]*):([^:]*)")
KINDS = ("float", "log", "int")
FORMS = "log:LOW:HIGH, float:LOW:HIGH, int:LOW:HIGH, or values joined by commas"
DIGITS = 4
"""Significant digits of a number that is chosen from a range."""


class Dimension(NamedTuple):
    """One axis of a search: the options that get the same value, and the candidate values or a range.

    Values are texts, as `--set` takes them. Without values, numbers from `low` to `high` are chosen: on a logarithmic scale if
    `log`, whole if `whole`.
    """

    options: tuple[str, ...]
    values: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    whole: bool = False

    @property
    def name(self) -> str:
        """The options, joined by plus signs."""
        return "+".join(self.options)

    def words(self, value: str) -> list[str]:
        """Return a value as words of `--set`."""
        return [f"{option}={value}" for option in self.options]

    def ends(self) -> tuple[str, ...]:
        """Return the candidate values, or both ends of the range, as texts."""
        return self.values or (self.text(self.low), self.text(self.high))

    def text(self, number: float) -> str:
        """Return a number from the range as text, rounded to `DIGITS` digits within the range."""
        if self.whole:
            return str(round(number))
        return repr(min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high))

    def suggest(self, trial: Any) -> str:
        """Return the value of an Optuna trial."""
        if self.values:
            return str(trial.suggest_categorical(self.name, self.values))
        if self.whole:
            return self.text(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log))
        return self.text(trial.suggest_float(self.name, self.low, self.high, log=self.log))


def parse_space(words: Sequence[str], hints: Mapping[str, Any], fixed: Sequence[str] = ()) -> list[Dimension]:
    """Return the dimensions in the words of `--space`.

    Args:
        words: `NAME=log:LOW:HIGH`, `NAME=float:LOW:HIGH`, `NAME=int:LOW:HIGH` or `NAME=VALUE,VALUE`. The options in
            `NAME+NAME=...` get the same value.
        hints: the types of the options that the strategy, its tuning and its plugins have.
        fixed: the options that `--set` fixes.

    Raises:
        UserError: for an unknown option, an option that is named twice or also in `--set`, an empty or reversed range, and a
            value of the wrong type.
    """
    types: dict[str, Any] = {}

    def rule(names: str) -> bool:
        types[names] = [hint_of(name, hints) for name in names.split("+")]
        return any(may_have_commas(hint) for hint in types[names])

    texts = listed_values(words, rule, "--space")
    dimensions = [_dimension(names.split("+"), values, types[names][0]) for names, values in texts.items()]
    for dimension in dimensions:
        for option, hint in zip(dimension.options, types[dimension.name], strict=True):
            for value in dimension.ends():
                convert(option, value, hint)
    options = [option for dimension in dimensions for option in dimension.options]
    for option in options:
        if options.count(option) > 1:
            raise UserError(f"--space names {option} twice.")
        if option in fixed:
            raise UserError(f"--set fixes {option}, and --space searches it: leave one out.")
    if not dimensions:
        raise UserError(f"--space names no option: write NAME=..., with {FORMS}.")
    return dimensions


def hint_of(option: str, hints: Mapping[str, Any]) -> Any:
    """Return the type of an option. Raises UserError for an option that there is not, with the nearest names."""
    if option in hints:
        return hints[option]
    table, dot, _ = option.partition(".")
    if dot and typing.get_origin(hints.get(table)) is Mapping:
        return typing.get_args(hints[table])[1]
    raise unknown("option", option, hints)


def grid_of(dimensions: Sequence[Dimension]) -> list[dict[str, str]] | None:
    """Return every combination of the values, the last dimension varying fastest; None if any dimension is a range."""
    if not all(dimension.values for dimension in dimensions):
        return None
    names = [dimension.name for dimension in dimensions]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(d.values for d in dimensions))]


def _dimension(options: Sequence[str], values: Sequence[str], hint: Any) -> Dimension:
    word = f"--space {'+'.join(options)}={','.join(values)}"
    match = RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is not None and match[1] in KINDS:
        return _range(tuple(options), word, match[1], match[2], match[3], hint)
    if match is not None and not may_have_commas(hint):
        near = difflib.get_close_matches(match[1], KINDS, n=1)
        hint_text = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{word}: there is no range {match[1]!r}.{hint_text} Write {FORMS}.")
    if not any(value.strip(" ,") for value in values):
        raise UserError(f"{word} names no value: write {FORMS}.")
    if len(values) == 1:
        raise UserError(f"{word} has a single value: write --set {' '.join(f'{o}={values[0]}' for o in options)}.")
    return Dimension(tuple(options), tuple(values))


def _range(options: tuple[str, ...], word: str, kind: str, first: str, last: str, hint: Any) -> Dimension:
    kinds = value_types(hint) if hint is not None else [float]
    if not set(kinds) & {int, float}:
        raise UserError(f"{word} is a range, but {options[0]} does not take a number: list the values, joined by commas.")
    whole = kind == "int" or float not in kinds
    if whole and kind == "float":
        raise UserError(f"{word}: {options[0]} takes a whole number: write int:{first}:{last}.")
    low, high = (convert(f"{word}: the end of a range", text, int if whole else float) for text in (first, last))
    if low > high:
        raise UserError(f"{word} is reversed: write {kind}:{last}:{first}.")
    if low == high:
        raise UserError(f"{word} is empty, since both ends are equal: write --set {' '.join(f'{o}={first}' for o in options)}.")
    if kind == "log" and low <= 0:
        raise UserError(f"{word}: a logarithmic range begins above 0. Use {'int' if whole else 'float'}:{first}:{last}.")
    return Dimension(options, (), float(low), float(high), kind == "log", whole)
