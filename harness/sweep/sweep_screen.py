"""What a person sees of a sweep: what runs now and how far it is, what ended and how, what there is to do about it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.display.screen import Screen, time_left
from harness.sweep.grid import Run, command_of
from harness.sweep.run_status import Status, counts, look
from harness.sweep.scheduler import Outcome

STYLES = {
    "finished": "green",
    "failed": "bold red",
    "interrupted": "yellow",
    "not started over": "yellow",
    "running": "bold",
    "missing": "dim",
    "waiting": "dim",
}
OLD = "not started over"
STARTS_OVER = "--fresh starts over"
"""How a message about a damaged file of a run ends."""
ROWS = 30
"""Rows of the live table; a terminal shows no more of it."""


class SweepScreen:
    """On a terminal a live table of what is running; piped, a line for each thing that happens; quiet, only errors."""

    def __init__(self, screen: Screen, live: bool | None = None):
        self.screen = screen
        self._use_live = (screen.console.is_terminal if live is None else live) and not screen.quiet
        self._live: Live | None = None
        self._shown = 0.0
        self._all = 0

    def begin(self, outcomes: Sequence[Outcome]) -> None:
        """What is there already, and what is to do."""
        self._all = len(outcomes)
        there = sum(o.state == "finished" for o in outcomes)
        left = self._all - there
        self.screen.say(f"{many(self._all)}, {there} finished already, {left} to do")
        if self._use_live and left:
            self._live = Live(self._table(outcomes), console=self.screen.console, refresh_per_second=4, transient=True)
            self._live.start()

    def started(self, outcome: Outcome) -> None:
        if self._live is None:
            attempt = f", attempt {outcome.attempts}" if outcome.attempts > 1 else ""
            where = f" on {outcome.note}" if outcome.note else ""
            self.screen.say(f"started {outcome.run}{where}{attempt}: {outcome.run.log}")

    def finished(self, outcome: Outcome) -> None:
        self.screen.say(f"finished {outcome.run} in {elapsed(outcome.seconds)}: {outcome.note}")

    def again(self, outcome: Outcome) -> None:
        self.screen.say(f"{outcome.run} is started again: {outcome.note}", style="yellow")

    def failed(self, outcome: Outcome) -> None:
        self.screen.say(f"failed {outcome.run}: {outcome.note}", style="bold red")

    def passed(self, outcome: Outcome) -> None:
        self.screen.say(f"left alone {outcome.run}: {outcome.note}", style="yellow")

    def stopping(self, running: int) -> None:
        if running:
            self.screen.say(f"stopping: {many(running)} saving; Ctrl-C again does not wait for it", style="yellow")

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Called often; looks and draws once a second."""
        if self._live is None or time.monotonic() < self._shown + 1:
            return
        self._shown = time.monotonic()
        for outcome in outcomes:
            if outcome.state == "running":
                outcome.status = look(outcome.run)
        self._live.update(self._table(outcomes))

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Leave the live display."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def summary(self, outcomes: Sequence[Outcome], out: str, fresh: bool = False) -> None:
        """What is not finished and why, how to see its log, and how to go on."""
        table = runs_table()
        left = [o for o in outcomes if o.state != "finished"]
        found = [final_status(o) for o in outcomes]
        for o, status in zip(outcomes, found, strict=True):
            if o.state != "finished":
                _add(table, o.run, status)
        if left:
            self.screen.show(table)
        now = sum(o.now and o.state == "finished" for o in outcomes)
        states = counts(status.state for status in found)
        self.screen.say(f"{many(len(outcomes))}: {states}{f' ({now} of them now)' if now else ''}")
        failed = [o for o in left if o.state == "failed"]
        for o in failed[:ROWS]:
            self.screen.say(f"  log: {o.run.log}", style="dim")
        self._what_to_do(failed, fresh)
        if not left:
            self.screen.say(f"python cli.py leaderboard {out}", style="dim")

    def _what_to_do(self, failed: Sequence[Outcome], fresh: bool) -> None:
        # A damaged record is damaged again: it takes a command of its own.
        damaged = [o for o in failed if STARTS_OVER in o.note]
        others = [o for o in failed if STARTS_OVER not in o.note]
        old = [o for o in others if o.is_old()]
        for o in damaged[:ROWS]:
            self.screen.say(f"to start {o.run} over:")
            if not self.screen.quiet:
                # Not wrapped on a terminal either: it is to be copied.
                self.screen.console.print(Text(shlex.join(command_of(o.run, fresh=True))), soft_wrap=True)
        if old:
            self.screen.say(
                f"{many(len(old))} failed before starting over: --fresh tries again, without it the old results stay"
            )
        if len(others) > len(old):
            again = "the same command without --fresh" if fresh else "the same command"
            self.screen.say(f"{again} tries again what failed, from its last checkpoint, and fills what is missing")

    def _table(self, outcomes: Sequence[Outcome]) -> Table:
        table = runs_table()
        running = [o for o in outcomes if o.state == "running"]
        for o in running[:ROWS]:
            note = " ".join(part for part in (elapsed(time.monotonic() - o.began), o.note) if part)
            _add(table, o.run, o.status._replace(state="running", note=note))
        table.caption = counts(o.state for o in outcomes) + _left(outcomes, len(running))
        table.caption_justify = "left"
        return table


def final_status(outcome: Outcome) -> Status:
    """How far the run of an outcome is in the end: the sweep's own word where it came to one, else what `--status` says."""
    if outcome.state in ("waiting", "interrupted"):
        status = look(outcome.run)
        return status._replace(state=OLD, note=f"{status.state} before") if outcome.is_old() else status
    return outcome.status._replace(state=outcome.state, note=outcome.note)


def how_to_go_on(outcomes: Sequence[Outcome], fresh: bool) -> str:
    """What the same command does after an interrupt, with and without --fresh."""
    if not fresh:
        return "the same command goes on"
    old = sum(final_status(o).state == OLD for o in outcomes)
    if not old:
        return "the same command without --fresh goes on"
    were, those = ("was", "that one") if old == 1 else ("were", f"those {old}")
    return (
        f"{old} of {many(len(outcomes))} {were} not started over. The same command without --fresh goes on from here and takes "
        f"{those} as before, old results and all; with --fresh it starts everything again"
    )


def show_status(runs: Sequence[Run], screen: Screen) -> None:
    """`--status`: every run, and how many are in which state."""
    table, states = runs_table(), []
    for run in runs:
        status = look(run)
        states.append(status.state)
        _add(table, run, status)
    screen.show(table)
    screen.say(f"{many(len(runs))}: {counts(states)}")


def runs_table() -> Table:
    table = plain_table()
    for name in ("strategy", "order"):
        table.add_column(name, no_wrap=True)
    table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("tasks", justify="right", no_wrap=True)
    table.add_column("")
    return table


def many(runs: int) -> str:
    """ "1 run", "2 runs"."""
    return f"{runs} run{'s' * (runs != 1)}"


def elapsed(seconds: float) -> str:
    """ "8 s", "2:05", "1:02:10"."""
    return time_left(seconds).removesuffix(" left")


def _add(table: Table, run: Run, status: Status) -> None:
    tasks = f"{status.done} of {status.of}" if status.of else ""
    state = Text(status.state, style=STYLES.get(status.state, ""))
    table.add_row(run.strategy, run.order, str(run.seed), state, tasks, Text(status.note))


def _left(outcomes: Sequence[Outcome], running: int) -> str:
    """About how long the rest takes, by the runs that this sweep has finished; nothing before the first."""
    took = [o.seconds for o in outcomes if o.now and o.state == "finished" and o.attempts == 1]
    if not took or not running:
        return ""
    mean, now = sum(took) / len(took), time.monotonic()
    begun = sum(min(mean, now - o.began) for o in outcomes if o.state == "running")
    todo = sum(o.state in ("waiting", "running") for o in outcomes) * mean - begun
    return f", about {time_left(todo / running)}"
