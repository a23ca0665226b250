"""Show a sweep: the running runs and their progress, how runs ended, and what to do next."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.display.screen import Screen, time_left
from harness.sweep.grid import Run, command_of
from harness.sweep.live_runs import LiveRuns, count_runs
from harness.sweep.run_status import Status, counts, status_of
from harness.sweep.scheduler import Outcome

OLD = "not started over"
STYLES = {
    "finished": "green",
    "failed": "bold red",
    "interrupted": "yellow",
    OLD: "yellow",
    "running": "bold",
    "missing": "dim",
    "waiting": "dim",
}
STARTS_OVER = "--fresh starts over"
"""The end of a message about a damaged file of a run."""
MOST_ROWS = 30
"""Rows of the live table. A terminal does not show more."""


class SweepScreen(LiveRuns):
    """A live table of the running runs on a terminal, one line per event in a pipe, and only errors with --quiet."""

    def begin(self, outcomes: Sequence[Outcome]) -> None:
        """Show how many runs are finished and how many are to do."""
        finished = sum(outcome.state == "finished" for outcome in outcomes)
        left = len(outcomes) - finished
        self.screen.say(f"{count_runs(len(outcomes))}, {finished} finished already, {left} to do")
        if left:
            self.start_table(outcomes)

    def finished(self, outcome: Outcome) -> None:
        """Show the numbers of a finished run."""
        self.screen.say(f"finished {outcome.run} in {elapsed(outcome.seconds)}: {outcome.note}")

    def failed(self, outcome: Outcome) -> None:
        """Show why a run has failed."""
        self.screen.say(f"failed {outcome.run}: {outcome.note}", style="bold red")

    def summary(self, outcomes: Sequence[Outcome], out: str, fresh: bool = False) -> None:
        """Show the runs that are not finished, their logs, and how to continue."""
        table = runs_table()
        left = [outcome for outcome in outcomes if outcome.state != "finished"]
        statuses = [final_status(outcome) for outcome in outcomes]
        for outcome, status in zip(outcomes, statuses, strict=True):
            if outcome.state != "finished":
                _add_row(table, outcome.run, status)
        if left:
            self.screen.show(table)
        here = sum(outcome.here and outcome.state == "finished" for outcome in outcomes)
        states = counts(status.state for status in statuses)
        self.screen.say(f"{count_runs(len(outcomes))}: {states}{f' ({here} of them now)' if here else ''}")
        failed = [outcome for outcome in left if outcome.state == "failed"]
        for outcome in failed[:MOST_ROWS]:
            self.screen.say(f"  log: {outcome.run.log}", style="dim")
        self._show_next_steps(failed, fresh)
        if not left:
            self.screen.say(f"python cli.py leaderboard {out}", style="dim")

    def _show_next_steps(self, failed: Sequence[Outcome], fresh: bool) -> None:
        # A damaged record would fail again, so it needs a separate command.
        damaged = [outcome for outcome in failed if STARTS_OVER in outcome.note]
        others = [outcome for outcome in failed if STARTS_OVER not in outcome.note]
        old = [outcome for outcome in others if outcome.has_old_results()]
        for outcome in damaged[:MOST_ROWS]:
            self.screen.say(f"to start {outcome.run} over:")
            if not self.screen.quiet:
                # Not wrapped on a terminal either, so that it can be copied.
                self.screen.console.print(Text(shlex.join(command_of(outcome.run, fresh=True))), soft_wrap=True)
        if old:
            self.screen.say(
                f"{count_runs(len(old))} failed before starting over: --fresh tries again, without it the old results stay"
            )
        if len(others) > len(old):
            command = "the same command without --fresh" if fresh else "the same command"
            self.screen.say(f"{command} continues the failed runs from their last checkpoint and starts the missing ones")

    def table(self, outcomes: Sequence[Outcome]) -> Table:
        """Return the table of running runs, with the number of runs in each state below it."""
        table = runs_table()
        running = [outcome for outcome in outcomes if outcome.state == "running"]
        for outcome in running[:MOST_ROWS]:
            note = " ".join(text for text in (elapsed(time.monotonic() - outcome.began), outcome.note) if text)
            _add_row(table, outcome.run, outcome.status._replace(state="running", note=note))
        table.caption = counts(outcome.state for outcome in outcomes) + _remaining(outcomes, len(running))
        table.caption_justify = "left"
        return table


def final_status(outcome: Outcome) -> Status:
    """Return the status of a run at the end of the sweep: the sweep's decision, or what `--status` shows without one."""
    if outcome.state in ("waiting", "interrupted"):
        status = status_of(outcome.run)
        return status._replace(state=OLD, note=f"{status.state} before") if outcome.has_old_results() else status
    return outcome.status._replace(state=outcome.state, note=outcome.note)


def how_to_continue(outcomes: Sequence[Outcome], fresh: bool) -> str:
    """Return what the same command does after an interrupt, with and without --fresh."""
    if not fresh:
        return "the same command continues"
    old = sum(final_status(outcome).state == OLD for outcome in outcomes)
    if not old:
        return "the same command without --fresh continues"
    were, those = ("was", "that run with its") if old == 1 else ("were", f"those {old} with their")
    return (
        f"{old} of {count_runs(len(outcomes))} {were} not started over. The same command without --fresh continues from here "
        f"and keeps {those} old results; with --fresh it starts every run over"
    )


def show_status(runs: Sequence[Run], screen: Screen) -> None:
    """Show every run of `--status`, and how many are in each state."""
    table, states = runs_table(), []
    for run in runs:
        status = status_of(run)
        states.append(status.state)
        _add_row(table, run, status)
    screen.show(table)
    screen.say(f"{count_runs(len(runs))}: {counts(states)}")


def runs_table() -> Table:
    """Return an empty table of runs."""
    table = plain_table()
    for name in ("strategy", "order"):
        table.add_column(name, no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("tasks", justify="right", no_wrap=True)
    table.add_column("")
    return table


def elapsed(seconds: float) -> str:
    """Return a time as "8 s", "2:05" or "1:02:10"."""
    return time_left(seconds).removesuffix(" left")


def _add_row(table: Table, run: Run, status: Status) -> None:
    tasks = f"{status.done} of {status.total}" if status.total else ""
    state = Text(status.state, style=STYLES.get(status.state, ""))
    table.add_row(run.label, run.order, str(run.seed), state, tasks, Text(status.note))


def _remaining(outcomes: Sequence[Outcome], running: int) -> str:
    """Return the estimated remaining time, from the runs that this sweep has finished; empty before the first of them."""
    seconds = [o.seconds for o in outcomes if o.here and o.state == "finished" and o.attempts == 1]
    if not seconds or not running:
        return ""
    mean, now = sum(seconds) / len(seconds), time.monotonic()
    spent = sum(min(mean, now - o.began) for o in outcomes if o.state == "running")
    left = sum(o.state in ("waiting", "running") for o in outcomes) * mean - spent
    return f", about {time_left(left / running)}"
