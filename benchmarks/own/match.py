"""Match class names that the user gives to class folders or labels: by name where they agree, else by order. No torch."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.own.names import folded, short
from models.registry import UserError, escaped

_NUMBERED = re.compile(r"\d+\s*[\s:.,;)_-]\s*(?=\S)")
_PAIR = re.compile(r"(?P<key>[^\s,:;]+|[^,:;]+?)\s*(?P<sign>[\s,:;])\s*(?P<name>.*\S)")


class Matched(NamedTuple):
    """Class names for keys: a dictionary, or a list in the order of the keys.

    Attributes:
        names: an argument of `names.name_classes`.
        notes, warnings: sentences for the user, as in `Domain`.
    """

    names: list[str] | dict[str, str]
    notes: list[str]
    warnings: list[str]


def match_names(keys: Sequence[str], given: list[str] | dict[str, str], what: str) -> Matched:
    """Assign class names to keys, which are class folders or labels (`what` in messages).

    A dictionary is matched by its keys, whatever the form of their accents and, where that is unique, their case. A list
    whose names are those of the keys in any order is matched by name, without regard to case, blanks, "_", "-", plurals
    and a leading number. A list of lines "n01440764 tench" for all keys is a dictionary. Every other list is in the order of
    the keys.

    Raises:
        UserError: for a list in which some names are, or contain, keys of other places.
    """
    if isinstance(given, dict):
        return _by_key(keys, given, what)
    if (pairs := _pairs(keys, given, what)) is not None:
        return _by_key(keys, pairs, what)
    if len(given) != len(keys) or len({folded(name) for name in given}) < len(given):
        return Matched(list(given), [], [])  # `name_classes` says what is wrong
    for form in (folded, _rough):
        places = _places([form(key) for key in keys])
        at = [places.get(form(name)) for name in given]
        if len(places) == len(keys) and None not in at and len(set(at)) == len(keys):
            names = _without_numbers(keys, given)
            named = {keys[i]: name for i, name in zip(at, names, strict=True) if i is not None}
            same = at == list(range(len(keys)))
            note = f"the class names are matched to the {what}s by name, because their order is another one"
            return Matched(named, [] if same else [note], [])
    if (moved := _out_of_place(keys, given)) is not None:
        i, j = moved
        raise UserError(
            f"The class names are in another order than the {what}s: name {i + 1} is {escaped(given[i])}, but {what} {i + 1} "
            f"is {escaped(keys[i])}, and {escaped(keys[j])} is {what} {j + 1}. {_how(what)}, or put the names in the order "
            f"{short(keys)}."
        )
    first = ", ".join(f"{escaped(key)} is {escaped(name)}" for key, name in list(zip(keys, given, strict=True))[:3])
    return Matched(list(given), [f"the class names are assigned by line order: {first}{', ...' if len(keys) > 3 else ''}"], [])


def _by_key(keys: Sequence[str], given: Mapping[str, str], what: str) -> Matched:
    """Match the keys of a dictionary to the keys of the classes; leave out the rest when every class has a name."""
    count = Counter(map(folded, given))
    forms = (
        given,
        {_composed(key): name for key, name in given.items()},
        {form: name for key, name in given.items() if count[form := folded(key)] == 1},
    )
    named: dict[str, str] = {}
    for key in keys:
        for known, text in zip(forms, (key, _composed(key), folded(key)), strict=True):
            if text in known:
                named[key] = known[text]
                break
    used = {folded(key) for key in named}
    extra = {key: name for key, name in given.items() if folded(key) not in used}
    if len(named) < len(keys):
        return Matched({**named, **extra}, [], [])  # `name_classes` says which is unknown, or lacking
    if not extra:
        return Matched(named, [], [])
    return Matched(named, [], [f"{len(extra):,} of the class names belong to no {what}, such as {escaped(next(iter(extra)))}"])


def _pairs(keys: Sequence[str], given: Sequence[str], what: str) -> dict[str, str] | None:
    """Return key -> name when every line is a key and a name, and every key has a line; else None.

    After a key with a digit ("n01440764 tench") any sign may part them. "tench, Tinca tinca" is not clear: UserError.
    """
    matches = [_PAIR.fullmatch(line) for line in given]
    found = {match["key"]: match["name"] for match in matches if match is not None}
    there = {folded(key) for key in found}
    if len(found) < len(given) or not all(folded(key) in there for key in keys):
        return None
    if all(any(map(str.isdigit, key)) for key in found):
        return found
    if any(match is not None and match["sign"] in ",:;" for match in matches):
        line = given[0]
        raise UserError(f"The class names begin with the {what}s ({escaped(line)}), so their form is not clear. {_how(what)}.")
    return None


def _out_of_place(keys: Sequence[str], given: Sequence[str]) -> tuple[int, int] | None:
    """Return (i, j) when name i is, or has among its words, key j and not key i; None when there is no such name."""
    places = _places([_rough(key) for key in keys])
    for i, name in enumerate(given):
        words = _words(name)
        at = [places[text] for text in (_rough(name), *words) if text in places]
        if at and i not in at and not set(_words(keys[i])) <= set(words):
            return i, at[0]
    return None


def _places(forms: Sequence[str]) -> dict[str, int]:
    """Return the index of each text that is there once."""
    count = Counter(forms)
    return {form: i for i, form in enumerate(forms) if form and count[form] == 1}


def _words(name: str) -> list[str]:
    return [text for word in re.split(r"[\W_]+", name) if (text := _rough(word))]


def _without_numbers(keys: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the names without the numbers of their lines ("0 cat", "1 dog") unless the keys have such numbers too."""
    if all(_NUMBERED.match(name) for name in given) and not all(_NUMBERED.match(key) for key in keys):
        return [_NUMBERED.sub("", name, count=1) for name in given]
    return list(given)


def _rough(name: str) -> str:
    """Return a name without case, signs, a leading number and a plural's "s", for comparing only."""
    text = "".join(character for character in folded(_NUMBERED.sub("", name, count=1)) if character.isalnum())
    return "" if text.isdigit() else text.removesuffix("s")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _how(what: str) -> str:
    return f"Write '{'folder' if 'folder' in what else 'label'}<TAB>name' on every line"
