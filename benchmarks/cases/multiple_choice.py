"""Questions with options as the classes of a domain: each class is one option of one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Item(NamedTuple):
    """The question of one image.

    Attributes:
        question: the text.
        options: the possible answers.
        answer: the right one, among the options.
    """

    question: str
    options: tuple[str, ...]
    answer: str


class Classes(NamedTuple):
    """The classes of some questions.

    Attributes:
        names: the question followed by an option, for each class.
        groups: the question of each class, as `benchmarks.data.domain.Domain.groups`.
        labels: the class of each item, by split.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    labels: dict[str, list[int]]


def classes_of(items: Mapping[str, Sequence[Item]]) -> Classes:
    """Return the classes of the items of all splits. Items with the same question and options share their classes.

    Example:
        >>> classes_of({"test": [Item("red?", ("no", "yes"), "yes")]})
        Classes(names=('red? no', 'red? yes'), groups=(0, 0), labels={'test': [1]})
    """
    asked = sorted({(item.question, item.options) for split in items.values() for item in split})
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    names: list[str] = []
    groups: list[int] = []
    for group, (question, options) in enumerate(asked):
        first[question, options] = len(names)
        names += [f"{question} {option}" for option in options]
        groups += [group] * len(options)
    labels = {
        split: [first[item.question, item.options] + item.options.index(item.answer) for item in each]
        for split, each in items.items()
    }
    return Classes(tuple(names), tuple(groups), labels)
