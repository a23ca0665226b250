"""Halves of a domain: two domains with half of its classes each. PAINT (2208.05592) patches on one and tests on the other."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.cases.case import Made
from benchmarks.catalog import DomainSource
from benchmarks.data.progress import Progress

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

NAMES = ("a", "b")


def halves(source: DomainSource) -> tuple[Made, Made]:
    """Return the halves of a domain, `<name>-a` and `<name>-b`. Both have its images, splits and templates."""
    first, second = (
        Made(f"{source.name}-{half}", partial(_half, source, i), (source,), source.edition) for i, half in enumerate(NAMES)
    )
    return first, second


def split_labels(count: int, name: str) -> tuple[list[int], list[int]]:
    """Return the labels of both halves of `count` classes, each in order.

    The split is stratified by the order of the classes (our choice): of each two neighbours, which are often alike, one goes
    to each half. Which one is drawn by the name of the domain. The last class of an odd number goes to a drawn half.

    Raises:
        ValueError: for fewer than two classes.
    """
    if count < 2:
        raise ValueError(f"{name!r} has {count} class and cannot be split into two halves")
    generator = random.Random(hashlib.sha256(f"halves {name}".encode()).digest())
    labels: tuple[list[int], list[int]] = ([], [])
    for first in range(0, count, 2):
        side = generator.randrange(2)
        labels[side].append(first)
        if first + 1 < count:
            labels[1 - side].append(first + 1)
    return labels


def divided(domain: Domain, labels: Sequence[Sequence[int]]) -> list[Domain]:
    """Return one domain per group of labels, with the classes in that order. Together the groups have every label once."""
    from benchmarks.cil import split_classes

    return split_classes(domain, [label for group in labels for label in group], [len(group) for group in labels])


def _half(source: DomainSource, number: int, splits: Sequence[str], progress: Progress | None) -> Domain:
    domain = source.build(splits, progress)
    half = divided(domain, split_labels(len(domain.classnames), domain.name))[number]
    return replace(half, name=f"{domain.name}-{NAMES[number]}")
