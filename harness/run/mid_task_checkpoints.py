"""Saving in the middle of a task: every few minutes, and when the process is told to end.

checkpoint/within/    the same files as after a task, of the latest moment: `after` counts updates, `experience` is the last one
                      that was finished
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from harness.run import checkpoint
from harness.run.signals import Stopped, handled
from models import parallel
from strategies.engine.losses import CHECK_EVERY

AGREE = CHECK_EVERY
"""Updates after which several processes ask each other: where a loss is looked at, and so waited for, anyway."""
DUE = 1
"""What is asked for when it is time: less than any signal's number."""


class Middle(NamedTuple):
    """Weights and snapshot (`strategies.engine.mid_task`) of an interrupted task, and what is wrong with a later save of it."""

    weights: dict[str, Tensor]
    snapshot: dict[str, Any]
    warning: str | None


class Pauses:
    """Called after each update: saves the task when `minutes` have gone since the last time, or a signal has come.

    A signal is answered at the end of the update, with a save and `Stopped`; a second one at once, and so is one that comes
    while no task is trained, or what follows the last update (a search for alpha, evaluation): before that a task is saved
    when a tenth of the time has gone. `minutes` 0: saves for signals alone.

    Several processes (`models.parallel`) have to stop after the same update: every `AGREE` updates they ask each other, the
    first of them saves, and a second signal, which torchrun sends, changes nothing.
    """

    def __init__(self, folder: Path, minutes: float, weights: Callable[[], dict[str, Tensor]], key: str = ""):
        self.folder = folder / "checkpoint" / checkpoint.WITHIN
        self.minutes = minutes
        self._weights, self._key = weights, key
        self._after, self._name, self._updates = 0, "", 0
        self._waits = False
        self._signal: int | None = None
        self._saved = ""
        self._last = time.monotonic()

    def middle(self, after: int, device: Any) -> Middle | None:
        """The task after experience `after` where it was interrupted. Raises UserError for one that is damaged."""
        found = checkpoint.sound(self.folder, self._key)
        if found is None or found.counters.get("experience") != after:
            return None
        middle = Middle(*checkpoint.load_state(self.folder, found.after, device), found.warning)
        self._saved = f"update {found.after} of the next task"
        return middle

    @contextlib.contextmanager
    def task(self, after: int, name: str, saves: bool) -> Iterator[None]:
        """While the task after experience `after` is trained; `saves`: it can be taken up in the middle."""
        self._after, self._name, self._updates = after, name, 0
        self._last, self._waits = time.monotonic(), saves
        try:
            yield
        finally:
            self._waits = False
        # One that came before a plugin ended the training early.
        if self._signal is not None:
            raise Stopped(self._signal, self._saved)

    def __call__(self, snapshot: Callable[[], dict[str, Any]], last: bool) -> None:
        """After an update; `last`: no other follows."""
        self._updates += 1
        if parallel.size() > 1 and self._updates % AGREE and not last:
            return
        minutes = self.minutes / 10 if last else self.minutes
        due = self.minutes > 0 and time.monotonic() - self._last >= 60 * minutes
        asked = parallel.maximum(self._signal or (DUE if due else 0))
        if asked:
            self._save(snapshot())
        if last:
            self._waits = False
        if asked > DUE:
            raise Stopped(asked, self._saved)

    def clear(self) -> None:
        """The task is over: what was saved within it is of no more use."""
        self._saved = ""
        if parallel.rank() == 0:
            checkpoint.clear(self.folder, self._key)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Answer signals as above."""

        def noted(number: int, frame: Any) -> None:
            if not self._waits or (self._signal is not None and parallel.size() == 1):
                raise Stopped(number, self._saved)
            self._signal = number

        with handled(noted):
            yield

    def _save(self, taken: dict[str, Any]) -> None:
        if parallel.rank() == 0:
            checkpoint.save_state(self.folder, taken["step"], self._weights(), taken)
            checkpoint.commit(self.folder, taken["step"], experience=self._after, key=self._key)
        # Whoever ends earlier makes torchrun end the others.
        parallel.maximum(0)
        self._saved, self._last = f"update {taken['step']} of {self._name}", time.monotonic()
