"""Finished runs and a study, as claims are judged by them: runs by benchmark and strategy, seeds, and their summaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.records.patches import Patch, patches
from harness.records.runs import Run
from metrics.means import Mean, mean
from models.registry import UserError


@dataclass(frozen=True)
class Evidence:
    """The finished runs of an edition with one model or with all, and the table of a study of the same (None: no study)."""

    runs: tuple[Run, ...]
    study: pd.DataFrame | None = field(default=None, compare=False)

    def of(self, benchmark: str, strategy: str, *changes: str) -> list[Run]:
        """Return the runs of a strategy on a benchmark that differ only in their seeds.

        Without `changes`, these are the runs with the benchmark's options; with them, the runs in which exactly these options
        were given. Options that were given with the benchmark's own values do not count. If there are several orders or other
        settings, the group with most seeds counts.
        """
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            same = _stream(run) == benchmark and run.identity["strategy"] == strategy
            if same and (_changed(run) == set(changes)):
                groups.setdefault(run.group, []).append(run)
        return max(groups.values(), key=len, default=[])

    @cached_property
    def lines(self) -> pd.DataFrame:
        """The lines of the study (`harness.study.findings.fit_lines`). Fitting them takes seconds."""
        from harness.study.findings import fit_lines

        assert self.study is not None
        return fit_lines(self.study)

    def summary(self, benchmark: str, strategy: str, metric: str, *changes: str) -> Mean:
        """Return the mean over seeds of a metric of the summary, with its t interval."""
        return mean([run.document["summary"][metric] for run in self.of(benchmark, strategy, *changes)])

    def difference(self, benchmark: str, a: Sequence[str], b: Sequence[str], metric: str) -> Mean:
        """Return the mean over shared seeds of metric(a) - metric(b), paired by seed, with its t interval.

        Args:
            benchmark: the benchmark.
            a: strategy, then the names of changed options.
            b: the same of the other method.
            metric: a metric of the summary.
        """
        first = {run.identity["seed"]: run.document["summary"][metric] for run in self.of(benchmark, *a)}
        second = {run.identity["seed"]: run.document["summary"][metric] for run in self.of(benchmark, *b)}
        return mean([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])

    def patches(self, benchmark: str, strategy: str = "paint-single") -> list[tuple[Run, list[Patch]]]:
        """Return the runs of a patching strategy, each with its patches."""
        return [(run, patches(run.document.get("searches"))) for run in self.of(benchmark, strategy)]


def _changed(run: Run) -> set[str]:
    """Return the options that were given for a run, or none if all of them have the benchmark's own values."""
    given = set(run.document.get("changes") or {})
    if not given:
        return set()
    names = ("edition", "model", "pretrained", "tuning")
    request: dict[str, Any] = {name: run.identity.get(name) for name in names}
    try:
        usual = outline(RunConfig(_stream(run), str(run.identity["strategy"]), **request))
    except UserError:
        return given
    return given if usual is None or usual.identity()["options"] != run.identity["options"] else set()


def _stream(run: Run) -> str:
    """Return the benchmark of a run as the command names it: "cil" for "cil-nature-5"."""
    name = str(run.identity["benchmark"])
    return "cil" if name.startswith("cil-") else name


def runs_of(*wanted: tuple[str, ...], seeds: int = 2) -> Callable[[Evidence], str | None]:
    """Return a function that says which runs are missing.

    Args:
        wanted: (benchmark, strategy, changed options...) of the runs.
        seeds: the least number of seeds.
    """

    def missing(evidence: Evidence) -> str | None:
        counts = {each: len(evidence.of(*each)) for each in wanted}
        few = [f"{' '.join(each)} ({count} of {seeds} seeds)" for each, count in counts.items() if count < seeds]
        return f"runs are missing: {', '.join(few)}" if few else None

    return missing


def groups_of(runs: Sequence[Run]) -> dict[tuple[str, str], tuple[Run, ...]]:
    """Return the finished runs by edition and model."""
    groups: dict[tuple[str, str], tuple[Run, ...]] = {}
    for run in runs:
        if run.finished:
            key = (str(run.identity["edition"]), str(run.identity["model"]))
            groups[key] = (*groups.get(key, ()), run)
    return groups


def points(value: Mean) -> str:
    """Return a mean in points with its interval as text: "+3.2 [+1.0, +5.4], 3 seeds"."""
    return f"{value.signed()}, {value.n} seed{'s' * (value.n != 1)}"
