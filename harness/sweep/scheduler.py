"""Keep a backend busy with the missing runs of a grid. A failure stops no other run, and an interrupt saves all runs."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from harness.run.locks import at_work, check_writable
from harness.run.signals import answered, handled
from harness.sweep.grid import Run
from harness.sweep.run_status import Stamp, Status, last_line, stamps, status_of
from models.files import reason as system_reason

MISTAKE = 2
"""The exit status for a mistake of the user. Another attempt would end in the same way."""
GRACE = 60.0
"""Seconds in which a process whose worker was lost saves and releases its folder."""
APPEARS = 10.0
"""Seconds until a record that another machine has written is visible here."""


class Ending(NamedTuple):
    """The end of a process: its exit status (None if it was lost), and a message about its worker or job."""

    status: int | None
    message: str = ""


class Handle(Protocol):
    """A started run. `where` names its device or job."""

    where: str

    def poll(self) -> Ending | None:
        """Return how the run ended, or None while it runs."""

    def interrupt(self) -> None:
        """Ask the run to save and end."""

    def kill(self) -> None:
        """End the run at once."""


class Backend(Protocol):
    """A place where runs are started.

    `slots` limits the number of runs at a time (None: the backend has a queue). If `stays` is true, runs outlive this process
    and an interrupt does not end them.
    """

    slots: int | None
    stays: bool

    def start(self, run: Run, fresh: bool) -> Handle:
        """Start a run."""

    def adopt(self, run: Run) -> Handle | None:
        """Return the handle of a run that an earlier sweep started and that has not ended, or None."""

    def close(self) -> None:
        """Release the resources of the backend."""


class Display(Protocol):
    """Shows the events of a sweep or a search (`harness.sweep.live_runs.LiveRuns`)."""

    def begin(self, outcomes: Sequence[Outcome]) -> None:
        """Show the work to do."""

    def started(self, outcome: Outcome) -> None:
        """Show that a run has started."""

    def finished(self, outcome: Outcome) -> None:
        """Show that a run is finished."""

    def retrying(self, outcome: Outcome) -> None:
        """Show that a run is started again, and why."""

    def failed(self, outcome: Outcome) -> None:
        """Show that a run has failed."""

    def skipped(self, outcome: Outcome) -> None:
        """Show that another process works on a run."""

    def stopping(self, running: int) -> None:
        """Show that the sweep waits for running processes to save."""

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Refresh the display. Called often."""

    def end(self, outcomes: Sequence[Outcome]) -> None:
        """Leave the live display."""


class Source(Protocol):
    """Adds runs while others run (`harness.tune.search.Search`)."""

    def next_run(self) -> Run | None:
        """Return a further run, or None to wait."""

    def look(self, outcomes: Sequence[Outcome]) -> None:
        """Look at all runs, and set `stop` of those that are not worth finishing. Called often."""


@dataclass
class Outcome:
    """A run of the sweep so far.

    `state` is waiting, running, elsewhere (another process has it), finished, failed, interrupted or stopped. `here` says
    whether this sweep has started it. `stop` asks to end it before it is finished, which makes it "stopped". `old_stamps` are
    the stamps of the results to be replaced, if the run starts over.
    """

    run: Run
    state: str = "waiting"
    note: str = ""
    attempts: int = 0
    here: bool = False
    began: float = 0.0
    seconds: float = 0.0
    not_before: float = 0.0
    stop: bool = False
    status: Status = field(default_factory=lambda: Status("missing"))
    old_stamps: dict[str, Stamp] = field(default_factory=dict)

    def has_old_results(self) -> bool:
        """Return whether results to be replaced are still there."""
        return bool(self.old_stamps.items() & stamps(self.run).items())


class Interrupted(Exception):
    """The sweep was interrupted. `left` are the runs that continue without it."""

    def __init__(self, outcomes: Sequence[Outcome], left: Sequence[Run]):
        super().__init__()
        self.outcomes, self.left = outcomes, left


Active = dict[Run, tuple[Outcome, Handle]]


def run_missing(
    runs: Sequence[Run],
    backend: Backend,
    screen: Display,
    *,
    fresh: bool = False,
    retries: int = 1,
    pause: float = 0.2,
    source: Source | None = None,
) -> list[Outcome]:
    """Start the runs that are not finished, start failed and lost runs again, and return how every run ended.

    Args:
        runs: the grid, in the order of the starts.
        backend: where runs are started.
        screen: where events are shown.
        fresh: start finished runs over. A further attempt continues from the last checkpoint once the old results are gone, so
            that old results never pass for new ones.
        retries: how often a run is started again.
        pause: seconds between looks at the running processes.
        source: adds runs when the backend has a free slot. The backend needs a number of slots.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when all processes have saved.
        UserError: before anything is started, if no log can be written.
    """
    outcomes = [Outcome(run) for run in runs]
    for outcome in outcomes:
        outcome.status = status_of(outcome.run)
        if fresh:
            outcome.old_stamps = stamps(outcome.run)
        # A queued job of an interrupted sweep may be about to start the run over.
        elif outcome.status.state == "finished" and backend.adopt(outcome.run) is None:
            outcome.state, outcome.note = "finished", outcome.status.note
    waiting = deque(outcome for outcome in outcomes if outcome.state == "waiting")
    for folder in {outcome.run.log.parent for outcome in waiting}:
        check_writable(folder)
    active: Active = {}
    screen.begin(outcomes)
    # SIGTERM is an interrupt too, as schedulers mean it. A shell may have set SIGINT to be ignored.
    with handled(_interrupt):
        try:
            while True:
                if source is not None:
                    _add_runs(source, outcomes, waiting, active, backend)
                if not waiting and not active:
                    break
                _start_waiting(waiting, active, backend, screen, fresh, retries)
                for outcome, handle in list(active.values()):
                    ending = handle.poll()
                    if ending is not None:
                        del active[outcome.run]
                        _settle(outcome, ending, retries, waiting, screen)
                if source is not None:
                    _stop_some(source, outcomes, active)
                screen.update(outcomes)
                time.sleep(pause)
        except KeyboardInterrupt:
            answered()
            left = list(active) if backend.stays else []
            _stop(active, backend, screen)
            raise Interrupted(outcomes, left) from None
        except BaseException:
            _stop(active, backend, screen)
            raise
        finally:
            screen.end(outcomes)
    return outcomes


def _add_runs(source: Source, outcomes: list[Outcome], waiting: deque[Outcome], active: Active, backend: Backend) -> None:
    """Add runs of a source for the free slots of the backend."""
    while len(waiting) + len(active) < (backend.slots or 1) and (run := source.next_run()) is not None:
        check_writable(run.log.parent)
        outcomes.append(Outcome(run, status=status_of(run)))
        waiting.append(outcomes[-1])


def _stop_some(source: Source, outcomes: list[Outcome], active: Active) -> None:
    """Interrupt the runs that a source stops."""
    before = {outcome.run for outcome in outcomes if outcome.stop}
    source.look(outcomes)
    for outcome, handle in active.values():
        if outcome.stop and outcome.run not in before:
            handle.interrupt()


def _start_waiting(
    waiting: deque[Outcome], active: Active, backend: Backend, screen: Display, fresh: bool, retries: int
) -> None:
    """Start waiting runs while the backend has free slots."""
    for _ in range(len(waiting)):
        if backend.slots is not None and len(active) >= backend.slots:
            return
        outcome = waiting.popleft()
        if outcome.stop:
            outcome.state = "stopped"
            continue
        now = time.monotonic()
        if outcome.not_before > now:
            waiting.append(outcome)
            continue
        outcome.status = status_of(outcome.run)
        first = outcome.attempts == 0
        handle = backend.adopt(outcome.run) if first else None
        old = outcome.has_old_results()
        if handle is None and outcome.status.state == "finished" and not old:
            # Another sweep over the same folder has finished it.
            outcome.state, outcome.note = "finished", outcome.status.note
            continue
        if handle is None and outcome.status.state == "running":
            if not first and now < outcome.began + outcome.seconds + GRACE:
                outcome.not_before = now + 1
                waiting.append(outcome)
                continue
            _skip(outcome, screen)
            continue
        outcome.attempts += 1
        outcome.began = now
        try:
            handle = handle or backend.start(outcome.run, fresh and (first or old))
        except OSError as error:
            problem = ": ".join(str(text) for text in (system_reason(error), error.filename) if text)
            _settle(outcome, Ending(None, f"it cannot be started ({problem})"), retries, waiting, screen)
            continue
        outcome.state, outcome.note, outcome.here = "running", handle.where, True
        active[outcome.run] = outcome, handle
        screen.started(outcome)


def _settle(outcome: Outcome, ending: Ending, retries: int, waiting: deque[Outcome], screen: Display) -> None:
    """Decide what becomes of a run whose process has ended: finished, failed, skipped, or started again."""
    outcome.seconds = time.monotonic() - outcome.began
    outcome.status = status_of(outcome.run)
    if ending.status == 0:
        until = time.monotonic() + APPEARS
        while not _is_finished(outcome) and time.monotonic() < until:
            time.sleep(0.5)
            outcome.status = status_of(outcome.run)
    if _is_finished(outcome):
        outcome.state, outcome.note = "finished", outcome.status.note
        # A refused process has not finished the run: another process did.
        outcome.here = ending.status != MISTAKE
        screen.finished(outcome)
        return
    if outcome.stop:
        outcome.state = "stopped"
        return
    # The lock is checked twice: while another sweep looks at it, it appears to be held.
    if ending.status == MISTAKE and outcome.status.state == "running" and at_work(outcome.run.folder):
        _skip(outcome, screen)
        return
    if ending.status == 0 and outcome.has_old_results():
        ending = Ending(None, "it ended without an error and did not start over")
    elif ending.status == 0:
        ending = Ending(
            MISTAKE,
            f"it ended without an error, but {outcome.run.folder} has no finished record. Does its machine have other data or "
            "versions?",
        )
    outcome.note = failure_reason(outcome.run, ending, outcome.status)
    if outcome.attempts <= retries and ending.status != MISTAKE:
        outcome.state = "waiting"
        waiting.appendleft(outcome)
        screen.retrying(outcome)
    else:
        outcome.state = "failed"
        screen.failed(outcome)


def _skip(outcome: Outcome, screen: Display) -> None:
    outcome.state, outcome.note, outcome.here = "elsewhere", "another process is at work on it", False
    screen.skipped(outcome)


def _is_finished(outcome: Outcome) -> bool:
    return outcome.status.state == "finished" and not outcome.has_old_results()


def failure_reason(run: Run, ending: Ending, status: Status) -> str:
    """Return why a run did not finish: the worker's message, the signal, the error in the record, or the log's last line."""
    if ending.message:
        return ending.message
    if ending.status is not None and ending.status < 0:
        try:
            return f"killed by {signal.Signals(-ending.status).name}"
        except ValueError:
            return f"killed by signal {-ending.status}"
    if status.state == "failed" and status.note:
        return status.note
    return last_line(run.log) or f"exit status {ending.status}"


def _stop(active: Active, backend: Backend, screen: Display) -> None:
    """Let all processes save and end. A second interrupt kills them."""
    if backend.stays:
        return
    try:
        for _, handle in active.values():
            handle.interrupt()
        screen.stopping(len(active))
        # While it saves, a process may outlive the worker that started it.
        while any(handle.poll() is None for _, handle in active.values()):
            time.sleep(0.1)
        until = time.monotonic() + GRACE
        while any(at_work(run.folder) for run in active) and time.monotonic() < until:
            time.sleep(0.1)
    except KeyboardInterrupt:
        answered()
        for _, handle in active.values():
            handle.kill()
    for outcome, _ in active.values():
        outcome.status = status_of(outcome.run)
        finished = _is_finished(outcome)
        outcome.state, outcome.note = ("finished", outcome.status.note) if finished else ("interrupted", "")


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
