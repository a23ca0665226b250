"""Answer SIGINT and SIGTERM reliably, even if Python loses the exception that a signal handler raises.

Python reports and forgets an exception that is raised while a callback of the garbage collector or of a weak reference runs,
and any `except:` of a library can drop it. The exception of a handler is therefore kept until the block that installed the
handler ends. Python's report of a forgotten exception sends the signal again, and `check` raises the exception again at every
safe point.
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
"""Seconds within which a repeated signal counts as one: Linux reports the death of a parent once for each of its threads."""
AGAIN = 0.01
"""Seconds after which a signal is sent again whose exception was lost. The callback that lost it has then ended."""
GIVE_UP = 20.0
"""Seconds after which a process is ended that keeps losing the exception."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

Handler = Callable[[int, Any], None]


class Stopped(KeyboardInterrupt):
    """A signal has ended the command. `status` is its exit status in a shell, `saved` says how far its record reaches."""

    def __init__(self, number: int, saved: str = ""):
        super().__init__()
        self.status = 128 + number
        self.word = WORDS.get(signal.Signals(number), "interrupted")
        self.saved = saved


@dataclass
class _Answer:
    """State that nested `handled` blocks share.

    `heard` is the time of the last signal, `raised` the exception of its handler until it leaves the block, and `lost` the time
    since which that exception has been forgotten. `waits` says that a thread is about to send the signal again, `repeats` that
    the next signal is this repetition.
    """

    heard: float = -math.inf
    number: int = 0
    raised: BaseException | None = None
    lost: float | None = None
    waits: bool = False
    repeats: bool = False


_answer: _Answer | None = None


def stop(number: int, frame: Any) -> NoReturn:
    """Answer a signal at once by raising Stopped."""
    raise Stopped(number)


def check() -> None:
    """Raise a lost exception of a handler again. Called where it is safe to stop."""
    if _answer is not None and _answer.raised is not None:
        raise _answer.raised.with_traceback(None)


def answered() -> None:
    """Forget the exception of a handler, which was caught on purpose inside the block."""
    if _answer is not None:
        _answer.raised = _answer.lost = None


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Let `handler(number, frame)` answer both signals. Outside the main thread, where that is impossible, do nothing.

    A lost exception of the handler is raised when the block ends, in place of any other exception. Code in the block that
    catches it on purpose calls `answered`.
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
            # The exception has left the block, or was never raised.
            answer.raised = answer.lost = None
            answer.waits = False
            _answer = around


@contextmanager
def importing() -> Iterator[None]:
    """End the process with one line at a signal while large libraries are imported. There is nothing to save yet.

    An exception could be dropped by an `except:` of a library, or leave it half imported.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    check()
    with _installed(_leave):
        yield


def _leave(number: int, frame: Any) -> NoReturn:
    """Print one line and end the process without cleaning up."""
    try:
        os.write(2, f"perennial: {WORDS.get(signal.Signals(number), 'interrupted')}.\n".encode())
    finally:
        os._exit(128 + number)


@contextmanager
def _installed(handler: Handler) -> Iterator[None]:
    """Install a handler for both signals, and restore the old ones at the end."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def _forgotten(answer: _Answer) -> Iterator[None]:
    """Send a signal again if Python reports that it has forgotten the exception of its handler."""
    before = sys.unraisablehook

    def hook(report: Any) -> None:
        if report.exc_value is None or report.exc_value is not answer.raised:
            before(report)
            return
        answer.waits = True
        answer.lost = answer.lost or time.monotonic()
        # An exception raised here is forgotten too, so another thread sends the signal when the callback has ended.
        _thread.start_new_thread(_send, (answer,))

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _send(answer: _Answer) -> None:
    """Send the signal of an answer to the main thread again, or end the process after `GIVE_UP` seconds."""
    time.sleep(AGAIN)
    main = threading.main_thread().ident
    if answer.raised is not None and main is not None:
        if answer.lost is not None and time.monotonic() - answer.lost > GIVE_UP:
            _leave(answer.number, None)
        answer.waits, answer.repeats = False, True
        signal.pthread_kill(main, answer.number)
