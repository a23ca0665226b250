"""When and how fast: the learning-rate schedule and the seeds of an experience."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch

from models.registry import UserError
from strategies.engine.batches import mixed_seed


def learning_rate(step: int, lr: float, iterations: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine to zero (ZSCL's schedule).

    lr (t + 1) / warmup for t < warmup, then lr (1 + cos(pi (t - warmup) / (iterations - 1 - warmup))) / 2, t from 0: the last
    of `iterations` updates has a rate of exactly 0. A warm-up longer than the budget simply never ends. A single update
    without warm-up has the full rate (our choice: at 0 it would change nothing).
    """
    if step < warmup:
        return lr * (step + 1) / warmup
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


def budget(options: Any, images: int) -> int:
    """Updates for a task of so many images: `iterations`, or `epochs` passes over them and one update more."""
    return options.epochs * math.ceil(images / options.batch_size) + 1 if options.epochs else options.iterations


class Rates:
    """The learning rates of a task's updates: a schedule for each parameter group of the optimiser.

    The peak of a group is the options' rate for the task, or the rate that a plugin or hook has set before the first update.
    The schedule sets every later rate, so a rate that something else sets during the task is refused.
    """

    def __init__(self, strategy: Any, experience: Any):
        o = strategy.options
        peak = o.lr_by_task.get(experience.domain.name, o.lr)
        self._strategy = strategy
        self._peaks = [peak if group["lr"] == o.lr else group["lr"] for group in strategy.optimizer.param_groups]
        self._set: list[float] = []

    def set(self, step: int, updates: int) -> float:
        """Set the rates of update number `step`; the first group's. Raises UserError for what `check` finds."""
        self.check()
        groups = self._strategy.optimizer.param_groups
        self._peaks += [group["lr"] for group in groups[len(self._peaks) :]]
        self._set = [self._strategy.learning_rate(step, peak, updates) for peak in self._peaks[: len(groups)]]
        for group, rate in zip(groups, self._set, strict=True):
            group["lr"] = rate
        return self._set[0]

    def check(self) -> None:
        """Raise UserError if the rates are not those that `set` has set."""
        for group, rate in zip(self._strategy.optimizer.param_groups, self._set, strict=False):
            if group["lr"] != rate:
                raise UserError(
                    f"A plugin or hook set the learning rate to {float(group['lr']):g} during a task, where the schedule sets "
                    "it before each update. Set it in before_training_exp or before_experience (it becomes the peak), use "
                    "--set lr=, warmup= and lr_by_task.TASK=, or override `learning_rate` in a strategy of your own."
                )
