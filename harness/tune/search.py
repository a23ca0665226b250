"""Make the trials of a search, follow their runs and score them. A source of runs for `harness.sweep.scheduler`."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean

from harness.run.locks import at_work
from harness.run.run_files import CHECKPOINTS
from harness.sweep.grid import Run
from harness.sweep.scheduler import GRACE, Outcome
from harness.tune.score import Metric, score_of, score_so_far
from harness.tune.trial_study import FAILED, FINISHED, OPEN, STOPPED, Entry, TrialStudy, best_of
from models.registry import UserError

MakeRuns = Callable[[Mapping[str, str]], list[Run]]


@dataclass
class Trial:
    """A trial at work: its runs, one per seed, and the outcomes of those that were handed out."""

    number: int
    values: dict[str, str]
    runs: list[Run]
    outcomes: list[Outcome] = field(default_factory=list)
    handed_out: int = 0
    tasks: int = 0
    behind: bool = False


class Search:
    """The trials of a search (`harness.sweep.scheduler.Source`).

    Args:
        study: the trials so far.
        make_runs: returns the runs of a trial, one per seed, for the value of each dimension.
        metric: the metric of the score, which is its mean over the seeds.
        trials: the number of trials.
        tasks: the names of the tasks in order.
        prune_after: stop a trial that is below the median of the others after this number of tasks or more, by its first seed;
            None: never.
    """

    def __init__(
        self,
        study: TrialStudy,
        make_runs: MakeRuns,
        metric: Metric,
        trials: int,
        tasks: Sequence[str],
        prune_after: int | None = None,
    ):
        self.study, self.make_runs, self.metric = study, make_runs, metric
        self.trials, self.tasks, self.prune_after = trials, tasks, prune_after
        self.ended: list[Entry] = [entry for entry in study.entries() if entry.state != OPEN]
        self.before = len(self.ended)
        """The number of trials that an earlier command has ended."""
        self._handed: list[Trial] = []
        self._open: list[Trial] = []
        # An interrupted trial is repeated: its runs continue from their last checkpoint.
        self._left = study.open_trials()

    @property
    def best(self) -> Entry | None:
        """The best finished trial."""
        return best_of(self.ended, self.metric.sign)

    def next_run(self) -> Run | None:
        """Return the next run of an open trial, or the first run of a new trial."""
        while True:
            for trial in self._open:
                if trial.handed_out < len(trial.runs) and not trial.behind:
                    trial.handed_out += 1
                    self._handed.append(trial)
                    return trial.runs[trial.handed_out - 1]
            if not self._left and len(self.study) < self.trials:
                self._left = [self.study.ask()]
            if not self._left:
                return None
            number, values = self._left[0]
            if any(trial.values == values for trial in self._open):
                # The sampler has repeated a trial that is at work: its score will do.
                return None
            del self._left[0]
            self._start(number, values)

    def _start(self, number: int, values: dict[str, str]) -> None:
        twin = next((e for e in self.ended if e.values == values and e.state == FINISHED), None)
        if twin is not None:
            self._end(twin._replace(number=number, seconds=0.0, note=f"the values of trial {twin.number}"))
            return
        try:
            runs = self.make_runs(values)
        except UserError as error:
            # Options can exclude each other, such as a warm-up that is longer than the training.
            self._end(Entry(number, values, FAILED, note=str(error)))
            return
        until = time.monotonic() + GRACE
        while any(at_work(run.folder) for run in runs) and time.monotonic() < until:
            # The process of a killed search is still saving.
            time.sleep(0.1)
        self._open.append(Trial(number, values, runs))

    def look(self, outcomes: Sequence[Outcome]) -> None:
        """Score the trials whose runs have ended, and stop those that fall behind."""
        for trial in self._open:
            trial.outcomes = []
        for trial, outcome in zip(self._handed, outcomes, strict=True):
            trial.outcomes.append(outcome)
        for trial in list(self._open):
            if (entry := self._entry(trial)) is not None:
                self._open.remove(trial)
                self._end(entry)
                for run in trial.runs:
                    # The weights of a trial are of no use, and may be large.
                    with suppress(OSError):
                        shutil.rmtree(run.folder / CHECKPOINTS)

    def _entry(self, trial: Trial) -> Entry | None:
        """Return the end of a trial, or None while it is at work."""
        states = [outcome.state for outcome in trial.outcomes]
        entry = Entry(
            trial.number, trial.values, FINISHED, tasks=len(self.tasks), seconds=sum(o.seconds for o in trial.outcomes)
        )
        if states == ["finished"] * len(trial.runs):
            score = fmean(score_of(run.folder, self.metric) for run in trial.runs)
            return entry._replace(score=score) if math.isfinite(score) else entry._replace(state=FAILED, note="it has no score")
        broken = next((o for o in trial.outcomes if o.state in ("failed", "elsewhere")), None)
        if broken is not None or trial.behind:
            for outcome in trial.outcomes:
                outcome.stop = outcome.state in ("running", "waiting")
            if "running" in states or "waiting" in states:
                return None
            if broken is not None:
                return entry._replace(state=FAILED, tasks=trial.tasks, note=broken.note)
            note = f"below the median after {trial.tasks} of {len(self.tasks)} tasks"
            return entry._replace(state=STOPPED, tasks=trial.tasks, note=note)
        if self.prune_after is not None and states:
            self._prune(trial, self.prune_after)
        return None

    def _prune(self, trial: Trial, prune_after: int) -> None:
        """Report the score of a trial so far, and give it up if it is behind."""
        tasks, score = score_so_far(trial.runs[0].folder, self.tasks, self.metric)
        if tasks > trial.tasks and math.isfinite(score):
            trial.tasks = tasks
            self.study.report(trial.number, tasks, score)
            trial.behind = tasks >= prune_after and self.study.is_behind(trial.number, tasks)

    def _end(self, entry: Entry) -> None:
        self.study.tell(entry)
        self.ended.append(entry)
