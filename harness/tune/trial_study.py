"""The trials of a search in a file, with Optuna's samplers. Optuna is imported only when it is used.

A sampler's random numbers depend on the seed of the search and the number of the trial. An interrupted search therefore makes
the same trials as one that was not interrupted, as long as one trial runs at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from harness.tune.space import Dimension
from models.registry import UserError, first_line

JOURNAL = "study.journal"
NAME = "tune"
FEWEST = 5
"""Trials with which a trial is compared before it may be stopped (Optuna's default of its median pruner)."""
FINISHED, STOPPED, FAILED, OPEN = "finished", "stopped", "failed", "running"


class Entry(NamedTuple):
    """A trial of the file: its number, the value of each dimension, its state, score, time and a note."""

    number: int
    values: dict[str, str]
    state: str
    score: float | None = None
    tasks: int = 0
    seconds: float = 0.0
    note: str = ""


class TrialStudy:
    """The trials of a search, kept in `study.journal` (a study of Optuna called `tune`).

    Args:
        folder: the folder of the file. Trials in an existing file are continued.
        space: the dimensions.
        maximise: a larger score is better.
        seed: the seed of the search.
        grid: the values of the trials in order; None: Optuna chooses them (TPE).

    Raises:
        UserError: Optuna is not installed, or the file cannot be read.
    """

    def __init__(
        self, folder: Path, space: Sequence[Dimension], maximise: bool, seed: int, grid: Sequence[Mapping[str, str]] | None
    ):
        self.optuna: Any = import_optuna()
        self.space, self.seed, self.grid = list(space), seed, grid
        storages: Any = self.optuna.storages
        path = folder / JOURNAL
        try:
            self.study = self.optuna.create_study(
                storage=storages.JournalStorage(storages.journal.JournalFileBackend(str(path))),
                study_name=NAME,
                direction="maximize" if maximise else "minimize",
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise UserError(f"{path} is damaged ({first_line(error)}): move it away to start the search over.") from error
        self.sign = 1 if maximise else -1

    def __len__(self) -> int:
        return sum(trial.state.name != "WAITING" for trial in self.study.get_trials(deepcopy=False))

    def ask(self) -> tuple[int, dict[str, str]]:
        """Return the number and the values of a new trial."""
        number = len(self)
        if self.grid is not None and number == len(self.study.get_trials(deepcopy=False)):
            self.study.enqueue_trial(dict(self.grid[number]))
        with warnings.catch_warnings():
            # Counting running trials as bad ones is "experimental".
            warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
            self.study.sampler = self.optuna.samplers.TPESampler(seed=self.seed * 1_000_003 + number, constant_liar=True)
        return self._suggested(self.study.ask())

    def open_trials(self) -> list[tuple[int, dict[str, str]]]:
        """Return the trials that an interrupted search left, with their values."""
        trials = [each for each in self.study.get_trials(deepcopy=False) if each.state.name == "RUNNING"]
        return [self._suggested(self._trial(each)) for each in trials]

    def _suggested(self, trial: Any) -> tuple[int, dict[str, str]]:
        values = {dimension.name: dimension.suggest(trial) for dimension in self.space}
        trial.set_user_attr("values", values)
        return trial.number, values

    def _trial(self, frozen: Any) -> Any:
        return self.optuna.trial.Trial(self.study, frozen._trial_id)

    def _open(self, number: int) -> Any:
        return self._trial(self.study.get_trials(deepcopy=False)[number])

    def report(self, number: int, tasks: int, score: float) -> None:
        """Record the score of a trial after some of its tasks."""
        self._open(number).report(score, tasks)

    def is_behind(self, number: int, tasks: int) -> bool:
        """Return whether a trial is below the median of the others after the same number of tasks."""
        trials = self.study.get_trials(deepcopy=False)
        others = [t.intermediate_values[tasks] for t in trials if t.number != number and tasks in t.intermediate_values]
        mine = trials[number].intermediate_values[tasks]
        return len(others) >= FEWEST and self.sign * mine < self.sign * median(others)

    def tell(self, entry: Entry) -> None:
        """Record the end of a trial: its score, or that it was stopped or has failed."""
        trial = self._open(entry.number)
        for name in ("tasks", "seconds", "note"):
            trial.set_user_attr(name, getattr(entry, name))
        states = self.optuna.trial.TrialState
        if entry.state == FINISHED:
            self.study.tell(entry.number, entry.score)
        else:
            self.study.tell(entry.number, state=states.PRUNED if entry.state == STOPPED else states.FAIL)

    def entries(self) -> list[Entry]:
        """Return all trials in order."""
        names = {"COMPLETE": FINISHED, "PRUNED": STOPPED, "FAIL": FAILED}
        result = []
        for trial in self.study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            if trial.state.name == "WAITING" or "values" not in attributes:
                continue
            state = names.get(trial.state.name, OPEN)
            numbers = {name: attributes[name] for name in ("tasks", "seconds", "note") if name in attributes}
            result.append(Entry(trial.number, attributes["values"], state, trial.value, **numbers))
        return result


def best_of(entries: Sequence[Entry], sign: int) -> Entry | None:
    """Return the finished trial with the best score, of equal ones the first; None without any. `sign` -1: less is better."""
    scored = [(entry, sign * entry.score) for entry in entries if entry.state == FINISHED and entry.score is not None]
    return max(scored, key=lambda pair: pair[1])[0] if scored else None


def import_optuna() -> Any:
    """Return the module. Raises UserError with the command that installs it."""
    try:
        import optuna
        import optuna.storages.journal
    except ImportError as error:
        raise UserError("tune needs Optuna: install perennial[tune] (pip install -e '.[tune]').") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
