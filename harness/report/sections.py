"""Runs in the order of the leaderboard: comparable sections of methods, each with the runs of its seeds."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.records.leaderboard import MARKS, SECTION, TABLE, section_title, table_of
from harness.records.runs import Run
from harness.records.summary import Percent, zero_shot_summary
from harness.records.titles import ordered_names


class Method(NamedTuple):
    """Runs that differ only in the seed, in the order of the seeds.

    `row` is their row of the leaderboard, with None for missing values. A `derived` method was not run. It is the initial
    model, with the accuracies of row 0 of the other methods' runs.
    """

    label: str
    row: dict[str, Any]
    runs: tuple[Run, ...]
    derived: bool = False

    @property
    def trains(self) -> bool:
        """True if the method trains the model."""
        return bool(self.row["strategy"] != "zero-shot")


class Section(NamedTuple):
    """One leaderboard: methods on the same benchmark, edition, order and protocol, best Average first."""

    title: str
    slug: str
    methods: tuple[Method, ...]

    @property
    def measured(self) -> tuple[Method, ...]:
        """The methods that were run."""
        return tuple(m for m in self.methods if not m.derived)

    @property
    def references(self) -> list[str]:
        """The labels of methods that train nothing."""
        return [m.label for m in self.methods if not m.trains]

    @property
    def first(self) -> Run:
        """The first run."""
        return self.measured[0].runs[0]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks in order."""
        return tuple(distinct([task for m in self.methods for task in m.runs[0].tasks]))

    @property
    def heldout(self) -> tuple[str, ...]:
        """Names of the held-out domains."""
        return tuple(distinct([name for m in self.methods for name in m.runs[0].heldout]))

    @property
    def incremental(self) -> bool:
        """True for class-incremental sections (`is_incremental`)."""
        return is_incremental(self.first)


def is_incremental(run: Run) -> bool:
    """Return whether the competing classes depend on the tasks so far.

    Then the zero-shot accuracies after later tasks differ from row 0.
    """
    return run.identity.get("protocol") == "class" or run.identity["benchmark"].startswith("cil-")


def sections(runs: Sequence[Run]) -> list[Section]:
    """Return the sections of the finished runs, in the order of the leaderboard."""
    table, by_row = table_of([run for run in runs if run.finished])
    rows: dict[tuple[Any, ...], list[tuple[dict[str, Any], tuple[Run, ...]]]] = {}
    for values, runs_of_row in zip(table.to_dict("records"), by_row, strict=True):
        row = {str(name): None if pd.isna(value) else value for name, value in values.items()}
        rows.setdefault(tuple(row.get(name) for name in SECTION), []).append((row, tuple(runs_of_row)))
    slugs: dict[str, int] = {}
    result = []
    for pairs in rows.values():
        row, [first, *_] = pairs[0]
        title = section_title(row, ordered_names(first.identity))
        every = [(*pair, False) for pair in pairs] + [(*pair, True) for pair in _zero_shot(pairs)]
        every.sort(key=lambda each: (str(each[0]["model"]), -math.inf if (a := each[0]["average"]) is None else -a))
        labels = _labels([row for row, *_ in every])
        methods = tuple(Method(label, *each) for label, each in zip(labels, every, strict=True))
        result.append(Section(title, unique(section_title(row), slugs), methods))
    return result


Pair = tuple[dict[str, Any], tuple[Run, ...]]
"""A row of the leaderboard and its runs."""


def _zero_shot(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the initial model as a method, from row 0 of the runs, for each model without a zero-shot run."""
    ran = {_model(row) for row, _ in pairs if row["strategy"] == "zero-shot"}
    by_model: dict[tuple[Any, ...], dict[int, Run]] = {}
    for row, runs in pairs:
        for run in runs:
            if _model(row) not in ran and not is_incremental(run) and np.isfinite(run.rows("test", run.tasks)[0]).all():
                by_model.setdefault(_model(row), {}).setdefault(run.identity["seed"], run)
    rows = {_model(row): row for row, _ in pairs}
    return [_initial(rows[model], [by_seed[seed] for seed in sorted(by_seed)]) for model, by_seed in by_model.items()]


def _initial(row: dict[str, Any], runs: Sequence[Run]) -> Pair:
    """Return the initial model as a method: every row of a run is its row 0."""
    derived_runs = []
    for run in runs:
        row0 = [(stream, name, v) for (at, stream, name), v in run.cells.items() if at == 0]
        cells = {(j, stream, name): v for j in range(len(run.tasks) + 1) for stream, name, v in row0}
        document = {"identity": {**run.identity, "strategy": "zero-shot"}, "status": "finished", "key": run.document["key"]}
        derived_runs.append(Run(run.folder, document, cells, losses={}))
    summaries = [
        zero_shot_summary({0: {("test", t): Percent(run.cells[0, "test", t]) for t in run.tasks}}, run.tasks) for run in runs
    ]
    new: dict[str, Any] = {
        name: row.get(name) for name in (*TABLE, *MARKS, "model", "pretrained", "iimm_mean", "iimm_mean_std")
    }
    new |= {"strategy": "zero-shot", "tuning": "", "settings": None, "seeds": len(runs)}
    for name in summaries[0]:
        values = np.array([summary[name] for summary in summaries])
        new[name] = float(values.mean()) if np.isfinite(values).all() else None
        new[f"{name}_std"] = float(values.std(ddof=1)) if len(runs) > 1 and new[name] is not None else None
    return new, tuple(derived_runs)


def _model(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["pretrained"]


def _labels(rows: list[dict[str, Any]]) -> list[str]:
    """Return the name of each strategy, with the tuning, model and settings in which rows of one strategy differ."""
    labels = [str(row["strategy"]) for row in rows]
    for parts in (("tuning",), ("model", "pretrained"), ("settings",)):
        more = [" ".join(str(row[name]) for name in parts if row.get(name)) for row in rows]
        different: dict[str, set[str]] = {}
        for label, text in zip(labels, more, strict=True):
            different.setdefault(label, set()).add(text)
        pairs = zip(labels, more, strict=True)
        labels = [f"{label}, {text}" if len(different[label]) > 1 and text else label for label, text in pairs]
    counts, used = Counter(labels), Counter[str]()
    unique_labels = []
    for label in labels:
        used[label] += 1
        unique_labels.append(label if counts[label] == 1 else f"{label} ({used[label]})")
    return unique_labels


def distinct(values: Sequence[Any]) -> list[Any]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))


def unique(text: str, taken: dict[str, int]) -> str:
    """Return a unique name for files and anchors, of lower-case letters, digits and dashes.

    Args:
        text: text that the name is made from.
        taken: names in use, each with its last number. The new name is added.
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
