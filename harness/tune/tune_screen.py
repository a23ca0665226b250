"""Show a search: the trials at work, the best one so far, and the remaining time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.display.screen import Screen, time_left
from harness.sweep.live_runs import LiveRuns
from harness.sweep.scheduler import Outcome
from harness.sweep.sweep_screen import STYLES, elapsed
from harness.tune.search import Search
from harness.tune.trial_study import FAILED, FINISHED, Entry

BEST_SHOWN = 5
"""Rows of the table at the end."""


class TuneScreen(LiveRuns):
    """A live table of the trials at work on a terminal, and one line per trial that has ended."""

    event_style = "dim"

    def __init__(self, screen: Screen, search: Search, slots: int, live: bool | None = None):
        super().__init__(screen, live)
        self.search, self.slots = search, slots
        self._shown = len(search.ended)

    def begin(self, outcomes: Sequence[Outcome]) -> None:
        """Show how many trials there are to do."""
        done, total = len(self.search.ended), self.search.trials
        self.screen.say(f"{total} trial{'s' * (total != 1)}, {done} done already, {max(0, total - done)} to do")
        self.start_table(outcomes)

    def finished(self, outcome: Outcome) -> None:
        """Do nothing: `update` shows the trial."""

    def failed(self, outcome: Outcome) -> None:
        """Show the log of a failed run."""
        self.screen.say(f"failed {outcome.run}: {outcome.run.log}", style="bold red")

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Show the trials that have ended, and refresh the live table."""
        for entry in self.search.ended[self._shown :]:
            self.screen.say(self._line(entry, outcomes), style="yellow" if entry.state == FAILED else None)
        self._shown = len(self.search.ended)
        super().update(outcomes)

    def summary(self, more: str = "") -> None:
        """Show the best trials, and how many ended in each way. `more` follows the heading."""
        sign = self.search.metric.sign
        finished = [entry for entry in self.search.ended if entry.state == FINISHED and entry.score is not None]
        table = plain_table()
        for name, justify in (("trial", "right"), (self.search.metric.name, "right"), ("options", "left"), ("", "left")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for entry in sorted(finished, key=lambda e: -sign * (e.score or 0.0))[:BEST_SHOWN]:
            table.add_row(str(entry.number), f"{entry.score:.2f}", options_text(entry.values), entry.note)
        if finished:
            self.screen.say(f"the best trials by {self.search.metric.name} on validation images{more}:")
            self.screen.show(table)
        states = [entry.state for entry in self.search.ended]
        self.screen.say(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no trial has ended")

    def _line(self, entry: Entry, outcomes: Sequence[Outcome]) -> str:
        """Return the line of a trial that has ended."""
        number = f"trial {entry.number}, {options_text(entry.values)}"
        end = f"{self.search.metric.name} {entry.score:.2f}" if entry.state == FINISHED else f"{entry.state}: {entry.note}"
        return f"{number}: {end} in {elapsed(entry.seconds)}; {self._progress(outcomes)}"

    def _progress(self, outcomes: Sequence[Outcome]) -> str:
        """Return how many trials have ended, the best score and the remaining time."""
        best, done = self.search.best, len(self.search.ended)
        words = [f"{done} of {max(done, self.search.trials)} trials"]
        if best is not None:
            words.append(f"best {best.score:.2f} (trial {best.number}, {options_text(best.values)})")
        here = [entry.seconds for entry in self.search.ended[self.search.before :] if entry.seconds]
        if here and done < self.search.trials:
            mean, now = sum(here) / len(here), time.monotonic()
            spent = sum(min(mean, now - outcome.began) for outcome in outcomes if outcome.state == "running")
            words.append(f"about {time_left(((self.search.trials - done) * mean - spent) / self.slots)}")
        return ", ".join(words)

    def table(self, outcomes: Sequence[Outcome]) -> Table:
        """Return the table of the trials at work, with the progress of the search below it."""
        table = plain_table()
        for name in ("trial", "seed", "state", "tasks", "time"):
            table.add_column(name, no_wrap=True)
        for outcome in outcomes:
            if outcome.state == "running":
                status = outcome.status
                tasks = f"{status.done} of {status.total}" if status.total else ""
                state, time_text = Text("running", style=STYLES["running"]), elapsed(time.monotonic() - outcome.began)
                table.add_row(" ".join(outcome.run.varied), str(outcome.run.seed), state, tasks, time_text)
        table.caption, table.caption_justify = self._progress(outcomes), "left"
        return table


def options_text(values: Mapping[str, str]) -> str:
    """Return the values of a trial as words: "l2=0.1 lr=0.0003"."""
    return " ".join(f"{name}={value}" for name, value in values.items())
