"""Runs sorted as the leaderboard sorts them: sections that may be compared, in each of them methods with their seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from harness.leaderboard import SECTION, leaderboard, section_title
from harness.report.runs import Run


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
    by_folder = {run.folder: run for run in runs if run.finished}
    if not by_folder:
        return []
    rows: dict[tuple[Any, ...], list[tuple[dict[str, Any], tuple[Run, ...]]]] = {}
    for row, seeds in _rows(by_folder):
        rows.setdefault(tuple(row.get(name) for name in SECTION), []).append((row, seeds))
    slugs: set[str] = set()
    made = []
    for found in rows.values():
        title = section_title(found[0][0])
        methods = (Method(label, *pair) for label, pair in zip(_labels([row for row, _ in found]), found, strict=True))
        made.append(Section(title, unique(title, slugs), tuple(methods)))
    return made


def _rows(by_folder: dict[Path, Run]) -> Iterable[tuple[dict[str, Any], tuple[Run, ...]]]:
    table = leaderboard([folder / "run.json" for folder in by_folder])
    groups: dict[str, list[Run]] = {}
    for run in by_folder.values():
        groups.setdefault(run.group, []).append(run)
    for values in table.to_dict("records"):
        row = {str(name): None if pd.isna(value) else value for name, value in values.items()}
        # The row names the folders of its runs, relative to the working directory where that is possible, with ";" between.
        named = f";{row['run']};"
        group = next(run.group for f, run in by_folder.items() if f";{f};" in named or f";{os.path.relpath(f)};" in named)
        yield row, tuple(sorted(groups[group], key=lambda run: run.identity["seed"]))


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """The strategy, and of tuning, model and settings what sets rows of one strategy apart."""
    labels = [str(row["strategy"]) for row in rows]
    for parts in (("tuning",), ("model", "pretrained"), ("settings",)):
        shared = {label for label in labels if labels.count(label) > 1}
        said = [" ".join(str(row[name]) for name in parts if row.get(name)) for row in rows]
        differ = {label for label in shared if len({s for s, of in zip(said, labels, strict=True) if of == label}) > 1}
        pairs = zip(labels, said, strict=True)
        labels = [f"{label}, {more}" if label in differ and more else label for label, more in pairs]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: i + 1].count(label)})" for i, label in enumerate(labels)
    ]


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))


def unique(text: str, taken: set[str]) -> str:
    """A name for files and anchors made from a text, and marked as taken: small letters, digits and dashes."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "x"
    names = (slug if i == 1 else f"{slug}-{i}" for i in range(1, len(taken) + 2))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name
