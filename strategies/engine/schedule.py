"""The learning-rate schedule, the budget of updates and the seeds of an experience."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import torch

from models.registry import UserError
from strategies.engine.batches import mixed_seed
from strategies.engine.training_options import TrainingOptions


def learning_rate(step: int, lr: float, iterations: int, warmup: int, schedule: str = "cosine") -> float:
    """Return the rate of update `step` (from 0): linear warm-up, then half a cosine to zero (ZSCL's schedule) or a constant.

    It is lr (t + 1) / warmup for t < warmup, then lr (1 + cos(pi (t - warmup) / (iterations - 1 - warmup))) / 2. The last of
    `iterations` updates has a rate of exactly 0. A warm-up longer than the budget does not end. A single update without warm-up
    has the full rate (our choice: at 0 it would change nothing). With schedule "constant" every rate after the warm-up is lr.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule == "constant":
        return lr
    length = iterations - 1 - warmup
    if length < 1:
        return 0.0 if iterations > 1 else lr
    return lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / length)))


def seed_everything(seed: int, experience: int) -> None:
    """Seed Python, NumPy and torch from a run's seed and the number of the experience."""
    mixed = mixed_seed(seed, experience)
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


def budget(options: TrainingOptions, images: int) -> int:
    """Return the updates for a task of this many images: `iterations`, or `epochs` passes over them.

    With a cosine, one update is added to the passes, because the last one has a rate of 0.
    """
    if not options.epochs:
        return options.iterations
    return options.epochs * math.ceil(images / options.batch_size) + (options.schedule == "cosine")


class Rates:
    """The learning rates of a task's updates: a schedule for each parameter group of the optimiser.

    The peak of a group is the options' rate for the task, or the rate that a plugin or hook has set before the first update.
    The schedule sets every later rate, so it is an error if anything else sets a rate during the task.

    Args:
        optimizer: the task's optimiser.
        options: `lr`, and `lr_by_task` by name of the task.
        task: name of the task.
        schedule: the hook `learning_rate(step, peak, updates)`.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        options: TrainingOptions,
        task: str,
        schedule: Callable[[int, float, int], float],
    ):
        peak = options.lr_by_task.get(task, options.lr)
        self._optimizer, self._schedule = optimizer, schedule
        self._peaks = [peak if group["lr"] == options.lr else group["lr"] for group in optimizer.param_groups]
        self._set: list[float] = []

    def set(self, step: int, updates: int) -> float:
        """Set the rates of update `step` and return the first group's. Raises UserError as `check` does."""
        self.check()
        groups = self._optimizer.param_groups
        self._peaks += [group["lr"] for group in groups[len(self._peaks) :]]
        self._set = [self._schedule(step, peak, updates) for peak in self._peaks[: len(groups)]]
        for group, rate in zip(groups, self._set, strict=True):
            group["lr"] = rate
        return self._set[0]

    def check(self) -> None:
        """Raise UserError if the rates are not those that `set` has set."""
        for group, rate in zip(self._optimizer.param_groups, self._set, strict=False):
            if group["lr"] != rate:
                raise UserError(
                    f"A plugin or hook set the learning rate to {float(group['lr']):g} during a task, where the schedule sets "
                    "it before each update. Set it in before_training_exp or before_experience (it becomes the peak), use "
                    "--set lr=, warmup= and lr_by_task.TASK=, or override the hook `learning_rate` in your strategy."
                )
