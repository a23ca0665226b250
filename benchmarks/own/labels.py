"""From labels as they are written (names or integers) to class names and integers in class order. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.own.names import clean, name_classes, natural
from models.registry import UserError, unknown


class Labelling(NamedTuple):
    """Class names [C], labels [N] in 0..C-1, and keys [C], which seed the split of each class."""

    names: tuple[str, ...]
    labels: list[int]
    keys: list[str]


def labelling(written: Sequence[str], given: list[str] | dict[str, str] | None, where: Callable[[int], str]) -> Labelling:
    """Return what labels `written` [N] mean, with the class names `given` (see `names.read_names`).

    Without `given` they are class names ("_" is a blank) in natural order. With a list they are its names, or integers
    0..C-1 in its order, or two truth values. With a dictionary they are its keys, in natural order. Whole numbers with a
    fraction of zero ("1.0") are read as whole numbers ("1"), as pandas writes integers in a column with gaps. `where(i)` says
    where label i is.

    Raises:
        UserError: for a label outside the class names, several labels in one ("cat|dog"), a missing number ("nan"), numbers
            with a fraction, which are not classes, and for what `name_classes` refuses.
    """
    if not (isinstance(given, dict) and set(written) <= set(given)):
        written = _whole(written, where)
        _check_single(written, where)
    if given is None:
        keys = sorted({clean(label) for label in written}, key=natural)
        index = {key: c for c, key in enumerate(keys)}
        return Labelling(name_classes(keys, None, "label"), [index[clean(label)] for label in written], keys)
    if isinstance(given, dict):
        keys = sorted(given, key=natural)
        names = name_classes(keys, given, "label")
        numbers = False
    else:
        keys = list(given)
        names = name_classes(keys, given, "class name")
        # Names that are numbers themselves ("0".."9") count as names as long as every label is one of them.
        known = {clean(key) for key in keys}
        numbers = not all(clean(label) in known for label in written) and all(map(_is_integer, written))
        if len(keys) == 2 and not known & {clean(label) for label in written}:
            written = [keys[_TRUTH[label.lower()]] for label in written] if _are_truth_values(written) else written
    index = {clean(key): c for c, key in enumerate(keys)} | {key: c for c, key in enumerate(keys)}
    labels = []
    for i, label in enumerate(written):
        if numbers and not 0 <= int(label) < len(keys):
            raise UserError(f"{where(i)}: the label {label} is outside 0..{len(keys) - 1}.")
        found = int(label) if numbers else index.get(label, index.get(clean(label)))
        if found is None:
            raise UserError(f"{where(i)}: {unknown('class', label, keys)}")
        labels.append(found)
    return Labelling(names, labels, keys)


_TRUTH = {"false": 0, "true": 1}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WITH_ZERO = re.compile(r"([+-]?\d+)\.0*")


def _whole(written: Sequence[str], where: Callable[[int], str]) -> Sequence[str]:
    """Return labels that all are numbers as whole numbers. Raises UserError for missing ones and fractions."""
    numbers = {label for label in set(written) if _NUMBER.fullmatch(label)}
    rest = set(written) - numbers
    if not numbers or any(label.lower() != "nan" for label in rest):
        return written
    if rest:
        i = next(i for i, label in enumerate(written) if label in rest)
        raise UserError(f"{where(i)}: the label is {written[i]}, which means that it is missing.")
    for i, label in enumerate(written):
        if not (label.lstrip("+-").isdigit() or _WITH_ZERO.fullmatch(label)):
            raise UserError(
                f"{where(i)}: the label {label} is a number with a fraction, not a class. If such numbers are classes, name "
                "them with --classnames, a file with one line of label<TAB>name for each."
            )
    return [match[1] if (match := _WITH_ZERO.fullmatch(label)) else label for label in written]


def _check_single(written: Sequence[str], where: Callable[[int], str]) -> None:
    """Refuse labels that are several labels: lists, and those that are other labels joined by a sign. Raises UserError."""
    different = set(written)
    for label in different:
        parts = next((parts for sign in "|;,/+" if len(parts := [part.strip() for part in label.split(sign)]) > 1), [])
        if (parts and set(parts) <= different) or (label.startswith("[") and label.endswith("]")):
            i = written.index(label)
            raise UserError(
                f"{where(i)}: {label!r} is several labels; one label for each image is wanted. If it is one class, name it "
                "with --classnames, a file with one line of label<TAB>name for each label."
            )


def _are_truth_values(written: Sequence[str]) -> bool:
    return {label.lower() for label in set(written)} <= set(_TRUTH)


def _is_integer(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit() and len(label) < 10
