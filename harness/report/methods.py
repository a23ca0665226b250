"""Runs sorted as the leaderboard sorts them: sections that may be compared, in each of them methods with their seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.leaderboard import SECTION, section_title, table_of
from harness.runs import Run


class Method(NamedTuple):
    """Runs that agree in everything but the seed, by seed; `row` is their row of the leaderboard, None for missing values."""

    label: str
    row: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def trains(self) -> bool:
        return self.row["strategy"] != "zero-shot"


class Section(NamedTuple):
    """What one leaderboard holds: methods on the same benchmark, edition, order and protocol, best Average first."""

    title: str
    slug: str
    methods: tuple[Method, ...]

    @property
    def first(self) -> Run:
        return self.methods[0].runs[0]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(distinct([task for m in self.methods for task in m.runs[0].tasks]))

    @property
    def heldout(self) -> tuple[str, ...]:
        return tuple(distinct([name for m in self.methods for name in m.runs[0].heldout]))

    @property
    def incremental(self) -> bool:
        """Class-incremental: which classes compete depends on the tasks so far, so that zero-shot has no one row."""
        return self.first.identity.get("protocol") == "class" or self.first.identity["benchmark"].startswith("cil-")


def sections(runs: Sequence[Run]) -> list[Section]:
    """The finished runs in the leaderboard's order."""
    table, by_row = table_of([run for run in runs if run.finished])
    rows: dict[tuple[Any, ...], list[tuple[dict[str, Any], tuple[Run, ...]]]] = {}
    for values, of in zip(table.to_dict("records"), by_row, strict=True):
        row = {str(name): None if pd.isna(value) else value for name, value in values.items()}
        rows.setdefault(tuple(row.get(name) for name in SECTION), []).append((row, tuple(of)))
    slugs: dict[str, int] = {}
    made = []
    for found in rows.values():
        title = section_title(found[0][0])
        methods = (Method(label, *pair) for label, pair in zip(_labels([row for row, _ in found]), found, strict=True))
        made.append(Section(title, unique(title, slugs), tuple(methods)))
    return made


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """The strategy, and of tuning, model and settings what sets rows of one strategy apart."""
    labels = [str(row["strategy"]) for row in rows]
    for parts in (("tuning",), ("model", "pretrained"), ("settings",)):
        more = [" ".join(str(row[name]) for name in parts if row.get(name)) for row in rows]
        different: dict[str, set[str]] = {}
        for label, text in zip(labels, more, strict=True):
            different.setdefault(label, set()).add(text)
        pairs = zip(labels, more, strict=True)
        labels = [f"{label}, {text}" if len(different[label]) > 1 and text else label for label, text in pairs]
    counts, used = Counter(labels), Counter[str]()
    made = []
    for label in labels:
        used[label] += 1
        made.append(label if counts[label] == 1 else f"{label} ({used[label]})")
    return made


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))


def unique(text: str, taken: dict[str, int]) -> str:
    """A name for files and anchors made from a text: small letters, digits and dashes.

    Args:
        taken: names that are taken, each with the last number that was put behind it. The new name is added.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "x"
    number = taken.get(slug, 0) + 1
    name = slug if number == 1 else f"{slug}-{number}"
    while name in taken:
        number += 1
        name = f"{slug}-{number}"
    taken[slug] = number
    taken.setdefault(name, 1)
    return name
