"""A plugin that measures how long training waits for its images: `--plugin tests/gpu/waiting.py:Waiting`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from avalanche.core import SupervisedPlugin

from models.clock import now


class Waiting(SupervisedPlugin):
    """Time each update from the end of the one before to the arrival of its batch on the device.

    The device is waited for at both ends, so it has nothing to do in the time that is counted. Without that waiting, a batch
    could be loaded while the device still works on the last one, so the share is an upper bound. The first batch of a task,
    for which reader processes start, is reported separately.

    Args:
        path: a file to which a line of JSON is appended per task.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)
        self.waits: list[float] = []
        self.began = self.free = 0.0

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Start to count."""
        self.waits = []
        self.began = self.free = now(strategy.device)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Note how long the batch took. It is on the device by now."""
        self.waits.append(now(strategy.device) - self.free)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Note when the device has nothing to do."""
        self.free = now(strategy.device)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Write the line of a task: updates, seconds without the first batch, and the share of them that was waited."""
        first, later = self.waits[0], self.waits[1:]
        seconds = self.free - self.began - first
        line = {
            "task": strategy.experience.domain.name,
            "updates": len(self.waits),
            "first_batch_s": first,
            "seconds": seconds,
            "waited_s": sum(later),
            "share": sum(later) / seconds,
            "median_wait_ms": 1000 * statistics.median(later) if later else None,
            "ms_per_update": 1000 * seconds / max(1, len(later)),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
