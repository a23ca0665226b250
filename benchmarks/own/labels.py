"""Class names and integer labels in class order from labels as they are written (names or integers). No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.own.match import name_classes
from benchmarks.own.names import clean, natural
from models.registry import UserError, unknown

_TRUTH = {"false": 0, "true": 1}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WITH_ZERO = re.compile(r"([+-]?\d+)\.0*")


class Labelling(NamedTuple):
    """Class names [C], labels [N] in 0..C-1, and keys [C], which seed the split of each class."""

    names: tuple[str, ...]
    labels: list[int]
    keys: list[str]


def labelling(
    written: Sequence[str], classnames: list[str] | dict[str, str] | None, where: Callable[[int], str], published: bool = False
) -> Labelling:
    """Return the class names and the integer labels of written labels.

    Whole numbers with a fraction of zero ("1.0") are read as whole numbers ("1"): pandas writes integers like this in a column
    with gaps.

    Args:
        written: the labels as texts [N].
        classnames: class names (see `names.read_names`). Without them, the labels are class names ("_" is a blank) in
            natural order. With a list, the labels are its names, or integers 0..C-1 in its order, or two truth values. With a
            dictionary, the labels are its keys, in natural order.
        where: where(i) describes the place of label i for messages.
        published: the class names are a benchmark's. If the labels are integers, two classes may have the same name, as
            "missile" and "sunglasses" in CLIP's list for ImageNet.

    Raises:
        UserError: for a label outside the class names, several labels in one ("cat|dog"), a missing number ("nan"), numbers
            with a fraction, which are not classes, and the mistakes in `name_classes`.
    """
    if not (isinstance(classnames, dict) and set(written) <= set(classnames)):
        written = _whole(written, where)
        _check_single(written, where)
    if classnames is None:
        keys = sorted({clean(label) for label in written}, key=natural)
        index = {key: c for c, key in enumerate(keys)}
        return Labelling(name_classes(keys, None, "label"), [index[clean(label)] for label in written], keys)
    if isinstance(classnames, dict):
        keys = sorted(classnames, key=natural)
        names = name_classes(keys, classnames, "label")
        are_integers = False
    else:
        keys = list(classnames)
        # If the class names are numbers ("0".."9"), labels count as names as long as each of them is one of these.
        known = {clean(key) for key in keys}
        are_integers = not all(clean(label) in known for label in written) and all(map(_is_integer, written))
        names = name_classes(keys, classnames, "class name", repeated=published and are_integers)
        if len(keys) == 2 and not known & {clean(label) for label in written}:
            written = [keys[_TRUTH[label.lower()]] for label in written] if _are_truth_values(written) else written
    index = {clean(key): c for c, key in enumerate(keys)} | {key: c for c, key in enumerate(keys)}
    labels = []
    for i, label in enumerate(written):
        if are_integers and not 0 <= int(label) < len(keys):
            raise UserError(f"{where(i)}: the label {label} is outside 0..{len(keys) - 1}.")
        c = int(label) if are_integers else index.get(label, index.get(clean(label)))
        if c is None:
            raise UserError(f"{where(i)}: {unknown('class', label, keys)}")
        labels.append(c)
    return Labelling(names, labels, keys)


def _whole(written: Sequence[str], where: Callable[[int], str]) -> Sequence[str]:
    """Return the labels as whole numbers if all are numbers. Raises UserError for missing numbers and fractions."""
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
                f"{where(i)}: the label {label} is a number with a fraction, not a class. If such numbers are classes, give "
                "--classnames a file with one line label<TAB>name for each of them."
            )
    return [match[1] if (match := _WITH_ZERO.fullmatch(label)) else label for label in written]


def _check_single(written: Sequence[str], where: Callable[[int], str]) -> None:
    """Refuse several labels in one: lists, and other labels joined by a sign. Raises UserError."""
    distinct = set(written)
    for label in distinct:
        parts = next((parts for sign in "|;,/+" if len(parts := [part.strip() for part in label.split(sign)]) > 1), [])
        if (parts and set(parts) <= distinct) or (label.startswith("[") and label.endswith("]")):
            i = written.index(label)
            raise UserError(
                f"{where(i)}: {label!r} is several labels, but an image can have only one. If it is one class, give "
                "--classnames a file with one line label<TAB>name for each label."
            )


def _are_truth_values(written: Sequence[str]) -> bool:
    return {label.lower() for label in set(written)} <= set(_TRUTH)


def _is_integer(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit() and len(label) < 10
