"""Domains that share classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from benchmarks.data.domain import Domain
from benchmarks.own.names import folded


def shared_classes(domains: Sequence[Domain]) -> list[list[str]]:
    """Return the pairs of domains, by name, that have a class name in common.

    Names are compared without case, "_", "-" and double blanks (`benchmarks.own.names.folded`). The same thing under two names
    ("0" and "zero") counts as two classes. A domain that is a half of another one shares its classes.
    """
    classes = {domain.name: frozenset(map(folded, domain.classnames)) for domain in domains}
    return [[a, b] for a, b in combinations(classes, 2) if classes[a] & classes[b]]
