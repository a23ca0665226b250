"""Keep a backend busy with what is missing of a grid: one failure stops nothing else, an interrupt saves everything."""

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
from harness.sweep.run_status import Status, last_line, look, traces
from models.files import reason as reason_of

MISTAKE = 2
"""The exit status of a mistake of the user's: another attempt ends the same."""
GRACE = 60.0
"""Seconds in which a process whose worker was lost saves and lets go of its folder."""
APPEARS = 10.0
"""Seconds in which a record that another machine has written is seen here."""


class Ending(NamedTuple):
    """How a process ended: its exit status (None: it was lost), and what there is to say of a worker or job beside its log."""

    status: int | None
    said: str = ""


class Handle(Protocol):
    """A run that was started."""

    where: str

    def poll(self) -> Ending | None:
        """How it ended; None while it goes on."""

    def interrupt(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


class Backend(Protocol):
    """Where runs are started.

    `slots`: how many at a time (None: it has a queue of its own). `stays`: runs outlive this process, so that an interrupt
    leaves them alone.
    """

    slots: int | None
    stays: bool

    def start(self, run: Run, fresh: bool) -> Handle:
        """Start a run."""

    def adopt(self, run: Run) -> Handle | None:
        """A run that an earlier sweep started and that is still on its way."""

    def close(self) -> None:
        """Give back what the backend holds."""


@dataclass
class Outcome:
    """A run of the sweep so far. State: waiting, running, elsewhere (another process has it), finished, failed, interrupted.

    `before`: the traces of the results that are to be started over, empty where nothing is.
    """

    run: Run
    state: str = "waiting"
    note: str = ""
    attempts: int = 0
    now: bool = False
    began: float = 0.0
    seconds: float = 0.0
    not_before: float = 0.0
    status: Status = field(default_factory=lambda: Status("missing"))
    before: dict[str, tuple[int, int]] = field(default_factory=dict)

    def is_old(self) -> bool:
        """Whether results that are to be started over are there still."""
        return bool(self.before.items() & traces(self.run).items())


class Interrupted(Exception):
    """The sweep was interrupted; `left` are the runs that go on without it."""

    def __init__(self, outcomes: Sequence[Outcome], left: Sequence[Run]):
        super().__init__()
        self.outcomes, self.left = outcomes, left


def fill(
    runs: Sequence[Run], backend: Backend, screen: Any, *, fresh: bool = False, retries: int = 1, pause: float = 0.2
) -> list[Outcome]:
    """Start what is missing, and again what failed or was lost, up to `retries` times each; how every run ended.

    Finished runs are left alone unless `fresh`; an attempt after the first goes on from the last checkpoint even then, once
    the old results are gone: they never pass for new ones.
    `screen`: a `harness.sweep.sweep_screen.SweepScreen`.

    Raises Interrupted after an interrupt or SIGTERM, when all processes have saved; UserError, before anything is started,
    where no log can be written.
    """
    outcomes = [Outcome(run) for run in runs]
    for outcome in outcomes:
        outcome.status = look(outcome.run)
        if fresh:
            outcome.before = traces(outcome.run)
        # A job that an interrupted sweep left in the queue may be about to start the run over.
        elif outcome.status.state == "finished" and backend.adopt(outcome.run) is None:
            outcome.state, outcome.note = "finished", outcome.status.note
    waiting = deque(outcome for outcome in outcomes if outcome.state == "waiting")
    for folder in {outcome.run.log.parent for outcome in waiting}:
        check_writable(folder)
    active: dict[Run, tuple[Outcome, Handle]] = {}
    screen.begin(outcomes)
    # SIGTERM is taken for an interrupt, as a scheduler means it, and so is SIGINT where a shell let it be ignored.
    with handled(_interrupt):
        try:
            while waiting or active:
                _start(waiting, active, backend, screen, fresh, retries)
                for outcome, handle in list(active.values()):
                    ending = handle.poll()
                    if ending is not None:
                        del active[outcome.run]
                        _ended(outcome, ending, retries, waiting, screen)
                screen.update(outcomes)
                time.sleep(pause)
        except KeyboardInterrupt:
            answered()
            left = [] if not backend.stays else [run for run in active]
            _stop(active, backend, screen)
            raise Interrupted(outcomes, left) from None
        except BaseException:
            _stop(active, backend, screen)
            raise
        finally:
            screen.end(outcomes)
    return outcomes


def _start(
    waiting: deque[Outcome],
    active: dict[Run, tuple[Outcome, Handle]],
    backend: Backend,
    screen: Any,
    fresh: bool,
    retries: int,
) -> None:
    for _ in range(len(waiting)):
        if backend.slots is not None and len(active) >= backend.slots:
            return
        outcome = waiting.popleft()
        now = time.monotonic()
        if outcome.not_before > now:
            waiting.append(outcome)
            continue
        outcome.status = look(outcome.run)
        first = outcome.attempts == 0
        handle = backend.adopt(outcome.run) if first else None
        old = outcome.is_old()
        if handle is None and outcome.status.state == "finished" and not old:
            # Another sweep over the same folder was quicker.
            outcome.state, outcome.note = "finished", outcome.status.note
            continue
        if handle is None and outcome.status.state == "running":
            if not first and now < outcome.began + outcome.seconds + GRACE:
                outcome.not_before = now + 1
                waiting.append(outcome)
                continue
            _leave(outcome, screen)
            continue
        outcome.attempts += 1
        outcome.began = now
        try:
            handle = handle or backend.start(outcome.run, fresh and (first or old))
        except OSError as error:
            why = ": ".join(str(part) for part in (reason_of(error), error.filename) if part)
            _ended(outcome, Ending(None, f"it cannot be started ({why})"), retries, waiting, screen)
            continue
        outcome.state, outcome.note, outcome.now = "running", handle.where, True
        active[outcome.run] = outcome, handle
        screen.started(outcome)


def _ended(outcome: Outcome, ending: Ending, retries: int, waiting: deque[Outcome], screen: Any) -> None:
    outcome.seconds = time.monotonic() - outcome.began
    outcome.status = look(outcome.run)
    if ending.status == 0:
        until = time.monotonic() + APPEARS
        while not _is_done(outcome) and time.monotonic() < until:
            time.sleep(0.5)
            outcome.status = look(outcome.run)
    if _is_done(outcome):
        outcome.state, outcome.note = "finished", outcome.status.note
        # One that was refused has not done it: another process had the run and was quicker.
        outcome.now = ending.status != MISTAKE
        screen.finished(outcome)
        return
    # Looked at twice: a lock that another sweep looks at reads as held for a moment.
    if ending.status == MISTAKE and outcome.status.state == "running" and at_work(outcome.run.folder):
        _leave(outcome, screen)
        return
    if ending.status == 0 and outcome.is_old():
        ending = Ending(None, "it ended well without starting over")
    elif ending.status == 0:
        ending = Ending(
            MISTAKE, f"it ended well, but {outcome.run.folder} has no finished record: other data or versions there?"
        )
    outcome.note = reason(outcome.run, ending, outcome.status)
    if outcome.attempts <= retries and ending.status != MISTAKE:
        outcome.state = "waiting"
        waiting.appendleft(outcome)
        screen.again(outcome)
    else:
        outcome.state = "failed"
        screen.failed(outcome)


def _leave(outcome: Outcome, screen: Any) -> None:
    outcome.state, outcome.note, outcome.now = "elsewhere", "another process is at work on it", False
    screen.passed(outcome)


def _is_done(outcome: Outcome) -> bool:
    return outcome.status.state == "finished" and not outcome.is_old()


def reason(run: Run, ending: Ending, status: Status) -> str:
    """Why a run did not finish: what the worker says, the signal, the error of its record, or the last line of its log."""
    if ending.said:
        return ending.said
    if ending.status is not None and ending.status < 0:
        try:
            return f"killed by {signal.Signals(-ending.status).name}"
        except ValueError:
            return f"killed by signal {-ending.status}"
    if status.state == "failed" and status.note:
        return status.note
    return last_line(run.log) or f"exit status {ending.status}"


def _stop(active: dict[Run, tuple[Outcome, Handle]], backend: Backend, screen: Any) -> None:
    if backend.stays:
        return
    try:
        for _, handle in active.values():
            handle.interrupt()
        screen.stopping(len(active))
        # A process may outlive the worker that it was started by, while it saves.
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
        outcome.status = look(outcome.run)
        outcome.state, outcome.note = ("finished", outcome.status.note) if _is_done(outcome) else ("interrupted", "")


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
