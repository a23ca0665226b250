"""The events of runs in other processes: a live table on a terminal, one line per event in a pipe."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from rich.live import Live
from rich.table import Table

from harness.display.screen import Screen
from harness.sweep.run_status import status_of
from harness.sweep.scheduler import Outcome


class LiveRuns(ABC):
    """The part of a `scheduler.Display` that a sweep and a search share. With --quiet it shows errors only.

    Args:
        screen: where it is shown.
        live: show the table. None: if the screen is a terminal.
    """

    event_style: str | None = None
    """Style of the line of a started run."""

    def __init__(self, screen: Screen, live: bool | None = None):
        self.screen = screen
        self._use_live = (screen.console.is_terminal if live is None else live) and not screen.quiet
        self._live: Live | None = None
        self._last_update = 0.0

    @abstractmethod
    def table(self, outcomes: Sequence[Outcome]) -> Table:
        """Return the table of running runs."""

    def start_table(self, outcomes: Sequence[Outcome]) -> None:
        """Start the live table, if it is used."""
        if self._use_live:
            self._live = Live(self.table(outcomes), console=self.screen.console, refresh_per_second=4, transient=True)
            self._live.start()

    def started(self, outcome: Outcome) -> None:
        """Show that a run has started, and its log."""
        if self._live is None:
            attempt = f", attempt {outcome.attempts}" if outcome.attempts > 1 else ""
            where = f" on {outcome.note}" if outcome.note else ""
            self.screen.say(f"started {outcome.run}{where}{attempt}: {outcome.run.log}", style=self.event_style)

    def retrying(self, outcome: Outcome) -> None:
        """Show why a run is started again."""
        self.screen.say(f"{outcome.run} is started again: {outcome.note}", style="yellow")

    def skipped(self, outcome: Outcome) -> None:
        """Show why a run is skipped."""
        self.screen.say(f"skipped {outcome.run}: {outcome.note}", style="yellow")

    def stopping(self, running: int) -> None:
        """Show that running processes are saving."""
        if running:
            self.screen.say(
                f"stopping: waiting for {count_runs(running)} to save; press Ctrl-C again to stop at once", style="yellow"
            )

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Refresh the live table at most once per second."""
        if self._live is None or time.monotonic() < self._last_update + 1:
            return
        self._last_update = time.monotonic()
        for outcome in outcomes:
            if outcome.state == "running":
                outcome.status = status_of(outcome.run)
        self._live.update(self.table(outcomes))

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Leave the live display."""
        if self._live is not None:
            self._live.stop()
        self._live = None


def count_runs(runs: int) -> str:
    """Return "1 run" or "2 runs"."""
    return f"{runs} run{'s' * (runs != 1)}"
