"""Who hears of an interrupt (SIGINT) and of a termination (SIGTERM)."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SAME = 1.0
"""Seconds within which a further signal is the same one: Linux tells of a parent's death once for each of its threads."""


_heard: list[float] | None = None
"""When the last signal came, for all that listen within one another."""


@contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """`handler(number, frame)` answers both signals; outside the main thread, where that cannot be, nothing changes."""
    global _heard
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    around, heard = _heard, [-math.inf] if _heard is None else _heard

    def once(number: int, frame: Any) -> None:
        now = time.monotonic()
        if now - heard[0] >= SAME:
            heard[0] = now
            handler(number, frame)

    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    _heard = heard
    try:
        yield
    finally:
        _heard = around
        for number, old in before.items():
            signal.signal(number, old)
