"""Answer an interrupt (SIGINT) and a termination (SIGTERM), also where Python loses the exception that a handler raises.

An exception that is raised while a garbage collector's or weak reference's callback runs is reported and then forgotten, and
any `except:` of a library can drop it. So what a handler raises is kept until the block that installed the handler ends:
Python's report of a forgotten exception sends the signal again, and `check` raises it again at every safe point.
"""

from __future__ import annotations

import _thread
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

SAME = 1.0
"""Seconds within which a further signal is the same one: Linux tells of a parent's death once for each of its threads."""
AGAIN = 0.01
"""Seconds after which a signal whose exception was forgotten is sent again, when the callback that lost it has ended."""
GIVE_UP = 20.0
"""Seconds after which a process that loses the exception again and again is ended."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

Handler = Callable[[int, Any], None]


class Stopped(KeyboardInterrupt):
    """A signal ended the command; `status` is what shells report for such a process, `saved` says how far the record goes."""

    def __init__(self, number: int, saved: str = ""):
        super().__init__()
        self.status = 128 + number
        self.word = WORDS.get(signal.Signals(number), "interrupted")
        self.saved = saved


@dataclass
class _Answer:
    """State that nested `handled` blocks share.

    `heard`: when the last signal came. `raised`: what its handler raised, until it leaves the block. `lost`: since when that
    exception has been forgotten. `waits`: another thread is about to send the signal again. `repeats`: the next signal is that.
    """

    heard: float = -math.inf
    number: int = 0
    raised: BaseException | None = None
    lost: float | None = None
    waits: bool = False
    repeats: bool = False


_answer: _Answer | None = None


def stop(number: int, frame: Any) -> NoReturn:
    """Answer a signal at once: raise Stopped."""
    raise Stopped(number)


def check() -> None:
    """Raise again what a handler has raised and something has swallowed; called where it is safe to stop."""
    if _answer is not None and _answer.raised is not None:
        raise _answer.raised.with_traceback(None)


def answered() -> None:
    """Forget what a handler has raised: it was caught on purpose inside the block."""
    if _answer is not None:
        _answer.raised = _answer.lost = None


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Let `handler(number, frame)` answer both signals; outside the main thread, where that is impossible, do nothing.

    What the handler has raised and something has swallowed is raised when the block ends, whatever else it ends with. Code in
    the block that catches it on purpose calls `answered`.
    """
    global _answer
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    check()
    around, answer = _answer, _answer or _Answer()

    def once(number: int, frame: Any) -> None:
        if answer.waits:
            return
        if answer.repeats and answer.raised is not None:
            answer.repeats = False
            raise answer.raised.with_traceback(None)
        now = time.monotonic()
        if now - answer.heard < SAME:
            return
        answer.heard, answer.number = now, number
        try:
            handler(number, frame)
        except BaseException as error:
            answer.raised = error
            raise

    with _installed(once), _forgotten(answer):
        _answer = answer
        try:
            yield
            check()
        except Exception as error:
            if answer.raised is not None:
                raise answer.raised.with_traceback(None) from error
            raise
        finally:
            # From here on it is on its way, or it was never raised.
            answer.raised = answer.lost = None
            answer.waits = False
            _answer = around


@contextmanager
def importing() -> Iterator[None]:
    """While large libraries are imported, end the process at a signal, with one line: nothing is there to be saved.

    An exception there would end up in any of their `except:`, or leave half of a library behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    check()
    with _installed(_leave):
        yield


def _leave(number: int, frame: Any) -> NoReturn:
    try:
        os.write(2, f"perennial: {WORDS.get(signal.Signals(number), 'interrupted')}.\n".encode())
    finally:
        os._exit(128 + number)


@contextmanager
def _installed(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def _forgotten(answer: _Answer) -> Iterator[None]:
    """Send a signal again when Python reports that it has forgotten the exception of its handler."""
    before = sys.unraisablehook

    def hook(report: Any) -> None:
        if report.exc_value is None or report.exc_value is not answer.raised:
            before(report)
            return
        answer.waits = True
        answer.lost = answer.lost or time.monotonic()
        # Here it would be forgotten again: another thread sends it when the callback has ended.
        _thread.start_new_thread(_send, (answer,))

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _send(answer: _Answer) -> None:
    time.sleep(AGAIN)
    main = threading.main_thread().ident
    if answer.raised is not None and main is not None:
        if answer.lost is not None and time.monotonic() - answer.lost > GIVE_UP:
            _leave(answer.number, None)
        answer.waits, answer.repeats = False, True
        signal.pthread_kill(main, answer.number)
