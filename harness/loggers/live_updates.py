"""The Avalanche plugin that hands over updates while a task is trained."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from avalanche.core import SupervisedPlugin

from harness.loggers.run_log import RunLog
from strategies.engine.losses import CHECK_EVERY, numbers

if TYPE_CHECKING:
    from strategies.engine.strategy import Strategy

SECONDS = 1.0
"""Time between two deliveries."""


class LiveUpdates(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]  # a keyword of Avalanche
    """Hand over new updates every second.

    On a GPU only after an update at which the loop has waited for the device anyway (`CHECK_EVERY`), so that logging adds no
    wait. The terms are then read in one transfer.

    Args:
        log: the loggers.
        before: the number of updates of finished tasks.
    """

    def __init__(self, log: RunLog, before: int):
        super().__init__()
        self._log, self._before, self._last = log, before, time.monotonic()

    def before_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        """Let an interruption hand over the updates since the last delivery."""
        self._log.before_end = lambda: self._deliver(strategy)

    def before_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        """Deliver if it is time. The record of the update before is complete now."""
        done = len(strategy.history)
        waits = strategy.device.type != "cpu" and done % CHECK_EVERY
        if self._log and done and not waits and time.monotonic() - self._last >= SECONDS:
            self._deliver(strategy)
            self._last = time.monotonic()

    def after_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        """Deliver the rest of the task."""
        self._log.before_end = None
        if self._log:
            self._deliver(strategy)
        self._before += len(strategy.history)

    def _deliver(self, strategy: Strategy) -> None:
        new = max(0, self._log.received - self._before)
        records = numbers(strategy.history[new:], strategy.update_losses[new:])
        self._log.updates(records, self._before + new + 1)
