"""Save a task while it is trained: every few minutes, and when a signal ends the process.

checkpoint/within/    the files of a checkpoint (`harness.run.checkpoint`), where `after` counts updates of the task and
                      `experience` is the last finished experience
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.run import checkpoint
from harness.run.run_files import CHECKPOINTS, MID_TASK
from harness.run.signals import Stopped, handled
from models import parallel
from strategies.engine.losses import CHECK_EVERY

SYNCHRONISE_EVERY = CHECK_EVERY
"""Updates between synchronisations of several processes. The loop waits for the loss there in any case."""
SAVE = 1
"""The request to save because of the time. It is less than the number of any signal."""


class InterruptedTask(NamedTuple):
    """Weights and snapshot (`strategies.engine.mid_task`) of a task, and a warning if a later save of it is damaged."""

    weights: dict[str, Tensor]
    snapshot: dict[str, Any]
    warning: str | None


class MidTaskCheckpoints:
    """Save a task when `minutes` have passed since the last save, or when a signal has arrived. Called after each update.

    The first signal during the training of a task is answered at the end of the update, with a save and `Stopped`. A second
    signal is answered at once. So is a signal outside the training of a task, and one after the last update of a task (during
    a search for alpha or an evaluation). The last update of a task therefore saves it when a tenth of `minutes` has passed.
    With `minutes` 0, only signals save.

    Several processes (`models.parallel`) stop after the same update: they synchronise every `SYNCHRONISE_EVERY` updates, and
    the first process saves. A second signal, which torchrun sends, has no effect on them.
    """

    def __init__(self, folder: Path, minutes: float, weights: Callable[[], dict[str, Tensor]], key: str = ""):
        """Save into the run in `folder`. `weights` returns the encoder's weights, `key` is the key of the run."""
        self.folder = folder / CHECKPOINTS / MID_TASK
        self.minutes = minutes
        self._weights, self._key = weights, key
        self._experience, self._task, self._updates = 0, "", 0
        self._defers_signals = False
        self._signal: int | None = None
        self._saved = ""
        self._last_save = time.monotonic()

    def load(self, experience: int, device: str | torch.device) -> InterruptedTask | None:
        """Return the interrupted task that follows this experience, or None. Raises UserError if it is damaged."""
        committed = checkpoint.last_undamaged(self.folder, self._key)
        if committed is None or committed.counters.get("experience") != experience:
            return None
        task = InterruptedTask(*checkpoint.load_state(self.folder, committed.after, device), committed.warning)
        self._saved = f"update {committed.after} of the next task"
        return task

    @contextmanager
    def training(self, experience: int, task: str, resumable: bool) -> Iterator[None]:
        """While the task that follows this experience is trained, defer signals if the task is `resumable` in the middle."""
        self._experience, self._task, self._updates = experience, task, 0
        self._last_save, self._defers_signals = time.monotonic(), resumable
        try:
            yield
        finally:
            self._defers_signals = False
        # A plugin may have ended the training before the signal was answered.
        if self._signal is not None:
            raise Stopped(self._signal, self._saved)

    def __call__(self, snapshot: Callable[[], dict[str, Any]], last: bool) -> None:
        """Save if it is time. `snapshot` returns the state of the task, `last` says whether this was its last update."""
        self._updates += 1
        if parallel.size() > 1 and self._updates % SYNCHRONISE_EVERY and not last:
            return
        minutes = self.minutes / 10 if last else self.minutes
        due = self.minutes > 0 and time.monotonic() - self._last_save >= 60 * minutes
        request = parallel.maximum(self._signal or (SAVE if due else 0))
        if request:
            self._save(snapshot())
        if last:
            self._defers_signals = False
        if request > SAVE:
            raise Stopped(request, self._saved)

    def clear(self) -> None:
        """Delete the checkpoints of a task that has ended."""
        self._saved = ""
        if parallel.rank() == 0:
            checkpoint.clear(self.folder, self._key)
            with suppress(OSError):
                self.folder.rmdir()

    @contextmanager
    def answering_signals(self) -> Iterator[None]:
        """Answer signals as the class describes."""

        def answer(number: int, frame: Any) -> None:
            if not self._defers_signals or (self._signal is not None and parallel.size() == 1):
                raise Stopped(number, self._saved)
            self._signal = number

        with handled(answer):
            yield

    def _save(self, snapshot: dict[str, Any]) -> None:
        step = snapshot["step"]
        if parallel.rank() == 0:
            checkpoint.save_state(self.folder, step, self._weights(), snapshot)
            checkpoint.commit(self.folder, step, experience=self._experience, key=self._key)
        # A process that ends before the others makes torchrun end them.
        parallel.maximum(0)
        self._saved, self._last_save = f"update {step} of {self._task}", time.monotonic()
