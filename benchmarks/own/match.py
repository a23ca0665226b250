"""Assign class names that the user gives to class folders or labels: by name where they agree, else by order. No torch."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.own.names import clean, folded, short
from models.registry import UserError, check_text, escaped, unknown

_NUMBERED = re.compile(r"\d+\s*[\s:.,;)_-]\s*(?=\S)")
_PAIR = re.compile(r"(?P<key>[^\s,:;]+|[^,:;]+?)\s*(?P<sign>[\s,:;])\s*(?P<name>.*\S)")


class Matched(NamedTuple):
    """Class names for keys.

    Attributes:
        names: a dictionary by key, or a list in the order of the keys; an argument of `name_classes`.
        notes, warnings: sentences for the user, as in `Domain`.
    """

    names: list[str] | dict[str, str]
    notes: list[str]
    warnings: list[str]


def name_classes(
    keys: Sequence[str], classnames: list[str] | dict[str, str] | None, key_noun: str, repeated: bool = False
) -> tuple[str, ...]:
    """Return one name for each class key, in the order of the keys.

    Args:
        keys: class folders or labels.
        classnames: class names, which are matched as in `match_names`. If None, the names are the cleaned keys.
        key_noun: the noun for a key in messages ("class folder").
        repeated: two keys may have the same name, and the list is in the order of the keys.

    Raises:
        UserError: for a wrong number of names, a key without a name, a name for no key, fewer than two classes, two keys
            with the same name (case and blanks do not count) unless `repeated`, and a key or name that `check_text` refuses.
    """
    if len(keys) < 2:
        present = f"there is only the {key_noun} {keys[0]!r}" if keys else f"there are no {key_noun}s"
        raise UserError(f"At least two classes are needed, but {present}.")
    matched = classnames if classnames is None or repeated else match_names(keys, classnames, key_noun).names
    if matched is None:
        names = [clean(key) for key in keys]
    elif isinstance(matched, dict):
        for key in matched:
            if key not in keys:
                raise unknown(key_noun, key, keys)
        if unnamed := [key for key in keys if key not in matched]:
            raise UserError(f"The class names have no name for the {key_noun} {unnamed[0]!r}.")
        names = [matched[key] for key in keys]
    else:
        if len(matched) != len(keys):
            raise UserError(
                f"There are {len(matched)} class names for {len(keys)} classes ({key_noun}s {short(keys)})."
                f"{_differences(keys, matched)}"
            )
        names = list(matched)
    key_by_form: dict[str, str] = {}
    for key, name in zip(keys, names, strict=True):
        check_text(key, key_noun)
        check_text(name, "class name")
        if not name:
            raise UserError(f"The {key_noun} {key!r} gives an empty class name.")
        form = folded(name)
        if form in key_by_form and not repeated:
            raise UserError(
                f"The {key_noun}s {key_by_form[form]!r} and {key!r} have the same class name, {name!r} (case, blanks, '_' and "
                "'-' do not count): merge them, or give them different names with --classnames."
            )
        key_by_form[form] = key
    return tuple(names)


def match_names(keys: Sequence[str], classnames: list[str] | dict[str, str], key_noun: str) -> Matched:
    """Assign class names to keys.

    The first rule that applies:
        a dictionary: by its keys, ignoring the form of accents and, where the result is unique, case
        a list of lines "n01440764 tench" for all keys: as a dictionary
        a list whose names are those of the keys in any order: by name, ignoring case, blanks, "_", "-", plurals and a
            leading number
        any other list: in the order of the keys

    Args:
        keys: class folders or labels.
        classnames: the class names.
        key_noun: the noun for a key in messages ("class folder").

    Raises:
        UserError: for a list in which a name is, or contains, the key of another place.
    """
    if isinstance(classnames, dict):
        return _by_key(keys, classnames, key_noun)
    if (pairs := _pairs(keys, classnames, key_noun)) is not None:
        return _by_key(keys, pairs, key_noun)
    if len(classnames) != len(keys) or len({folded(name) for name in classnames}) < len(classnames):
        return Matched(list(classnames), [], [])  # `name_classes` reports the error
    for form in (folded, _rough):
        index = _unique([form(key) for key in keys])
        places = [index.get(form(name)) for name in classnames]
        if len(index) == len(keys) and None not in places and len(set(places)) == len(keys):
            names = _without_numbers(keys, classnames)
            named = {keys[i]: name for i, name in zip(places, names, strict=True) if i is not None}
            if places == list(range(len(keys))):
                return Matched(named, [], [])
            return Matched(named, [f"the class names are in another order than the {key_noun}s and are matched by name"], [])
    if (moved := _out_of_place(keys, classnames)) is not None:
        i, j = moved
        raise UserError(
            f"The class names are in another order than the {key_noun}s: name {i + 1} is {escaped(classnames[i])}, but "
            f"{key_noun} {i + 1} is {escaped(keys[i])}, and {escaped(keys[j])} is {key_noun} {j + 1}. {_remedy(key_noun)}, or "
            f"put the names in the order {short(keys)}."
        )
    first = ", ".join(f"{escaped(key)} is {escaped(name)}" for key, name in list(zip(keys, classnames, strict=True))[:3])
    return Matched(
        list(classnames), [f"the class names are assigned by line order: {first}{', ...' if len(keys) > 3 else ''}"], []
    )


def _by_key(keys: Sequence[str], classnames: Mapping[str, str], key_noun: str) -> Matched:
    """Match a dictionary by its keys. If every class has a name, superfluous names are left out with a warning."""
    count = Counter(map(folded, classnames))
    forms = (
        classnames,
        {_composed(key): name for key, name in classnames.items()},
        {form: name for key, name in classnames.items() if count[form := folded(key)] == 1},
    )
    named: dict[str, str] = {}
    for key in keys:
        for name_by_form, form in zip(forms, (key, _composed(key), folded(key)), strict=True):
            if form in name_by_form:
                named[key] = name_by_form[form]
                break
    used = {folded(key) for key in named}
    extra = {key: name for key, name in classnames.items() if folded(key) not in used}
    if len(named) < len(keys):
        return Matched({**named, **extra}, [], [])  # `name_classes` reports the unknown or missing one
    if not extra:
        return Matched(named, [], [])
    return Matched(named, [], [f"{len(extra):,} class names have no {key_noun}, for example {escaped(next(iter(extra)))}"])


def _pairs(keys: Sequence[str], classnames: Sequence[str], key_noun: str) -> dict[str, str] | None:
    """Return name by key if every line is a key and a name and every key has a line, else None.

    After a key with a digit ("n01440764 tench") any separator is accepted. "tench, Tinca tinca" is ambiguous: UserError.
    """
    matches = [_PAIR.fullmatch(line) for line in classnames]
    pairs = {match["key"]: match["name"] for match in matches if match is not None}
    forms = {folded(key) for key in pairs}
    if len(pairs) < len(classnames) or not all(folded(key) in forms for key in keys):
        return None
    if all(any(map(str.isdigit, key)) for key in pairs):
        return pairs
    if any(match is not None and match["sign"] in ",:;" for match in matches):
        line = classnames[0]
        raise UserError(
            f"The class names begin with the {key_noun}s ({escaped(line)}), so their form is ambiguous. {_remedy(key_noun)}."
        )
    return None


def _out_of_place(keys: Sequence[str], classnames: Sequence[str]) -> tuple[int, int] | None:
    """Return (i, j) if name i is, or has among its words, key j and not key i; None if no name is out of place."""
    index = _unique([_rough(key) for key in keys])
    for i, name in enumerate(classnames):
        words = _words(name)
        places = [index[text] for text in (_rough(name), *words) if text in index]
        if places and i not in places and not set(_words(keys[i])) <= set(words):
            return i, places[0]
    return None


def _unique(forms: Sequence[str]) -> dict[str, int]:
    """Return the index of each text that occurs once."""
    count = Counter(forms)
    return {form: i for i, form in enumerate(forms) if form and count[form] == 1}


def _differences(keys: Sequence[str], classnames: Sequence[str]) -> str:
    """Return sentences on the keys without a name and the names without a key, if most of them agree."""
    names, folders = {folded(name): name for name in classnames}, {folded(key): key for key in keys}
    if len(names.keys() & folders.keys()) * 2 < len(keys):
        return " Blank lines do not count." if len(classnames) < len(keys) else ""
    unnamed = [folders[form] for form in folders if form not in names]
    extra = [names[form] for form in names if form not in folders]
    without_name = f" Without a name: {short(unnamed)}." if unnamed else ""
    without_class = f" Without a class: {short(extra)}." if extra else ""
    return without_name + without_class


def _words(name: str) -> list[str]:
    return [text for word in re.split(r"[\W_]+", name) if (text := _rough(word))]


def _without_numbers(keys: Sequence[str], classnames: Sequence[str]) -> list[str]:
    """Return the names without the numbers of their lines ("0 cat", "1 dog"), unless the keys have such numbers too."""
    if all(_NUMBERED.match(name) for name in classnames) and not all(_NUMBERED.match(key) for key in keys):
        return [_NUMBERED.sub("", name, count=1) for name in classnames]
    return list(classnames)


def _rough(name: str) -> str:
    """Return the form of a name for loose comparisons: without case, signs, a leading number and a plural's "s"."""
    text = "".join(character for character in folded(_NUMBERED.sub("", name, count=1)) if character.isalnum())
    return "" if text.isdigit() else text.removesuffix("s")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _remedy(key_noun: str) -> str:
    return f"Write '{'folder' if 'folder' in key_noun else 'label'}<TAB>name' on every line"
