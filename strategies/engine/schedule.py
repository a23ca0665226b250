"""The learning-rate schedule, the budget of updates and the seeds of an experience."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.registry import UserError
from strategies.engine.batches import mixed_seed
from strategies.engine.training_options import TrainingOptions

# The rate of one cycle is lr / start at first, and that / end at last: the defaults of torch's OneCycleLR.
ONE_CYCLE_START, ONE_CYCLE_END = 25.0, 1e4


def learning_rate(step: int, lr: float, iterations: int, warmup: int, schedule: str = "cosine") -> float:
    """Return the rate of update `step` (from 0): linear warm-up, then half a cosine to zero (ZSCL's schedule) or a constant.

    It is lr (t + 1) / warmup for t < warmup, then lr (1 + cos(pi (t - warmup) / (iterations - 1 - warmup))) / 2. The last of
    `iterations` updates has a rate of exactly 0. A warm-up longer than the budget does not end. A single update without warm-up
    has the full rate (our choice: at 0 it would change nothing). With schedule "constant" every rate after the warm-up is lr.
    `scheduled_rate` has the other schedules.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule == "constant":
        return lr
    length = iterations - 1 - warmup
    if length < 1:
        return 0.0 if iterations > 1 else lr
    return lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / length)))


def one_cycle(step: int, lr: float, iterations: int, rise: float = 0.3) -> float:
    """Return the rate of update `step` (from 0) of one cycle: half a cosine from lr / 25 to lr, then one to lr / 250,000.

    The peak is at update rise * iterations - 1, which need not be whole (torch's OneCycleLR; Smith and Topin, 1708.07120). A
    single update has the full rate (our choice).
    """
    if iterations == 1:
        return lr
    low, last, end = lr / ONE_CYCLE_START, lr / (ONE_CYCLE_START * ONE_CYCLE_END), iterations - 1
    peak = rise * iterations - 1
    if step <= peak:
        return _half_cosine(low, lr, step / peak if peak > 0 else 1.0)
    return _half_cosine(lr, last, (step - peak) / (end - peak))


def scheduled_rate(step: int, lr: float, iterations: int, options: TrainingOptions) -> float:
    """Return the rate of update `step` (from 0) of `iterations` by the schedule of the options.

    With schedule "step" the rate after the warm-up is lr * step_factor^k, k the number of `step_at` that are passed: those with
    share * iterations <= step, rounded to whole updates.
    """
    if options.schedule == "one-cycle":
        return one_cycle(step, lr, iterations, options.cycle_rise)
    if options.schedule == "step" and step >= options.warmup:
        return lr * options.step_factor ** sum(step >= round(share * iterations) for share in options.step_at)
    return learning_rate(step, lr, iterations, options.warmup, options.schedule)


class Stage(NamedTuple):
    """A stage of a task: its number from 0, its first update, and the update after its last one."""

    number: int
    start: int
    end: int


def stage_of(step: int, updates: int, stage_at: Sequence[float] = ()) -> Stage:
    """Return the stage of update `step` (from 0) of a task, whose stages begin at these shares of its updates."""
    starts = [0, *(round(share * updates) for share in stage_at), updates]
    number = sum(step >= start for start in starts[1:-1])
    return Stage(number, starts[number], starts[number + 1])


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


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
    """The learning rates of a task's updates: a schedule for each parameter group of the optimiser, in each stage of the task.

    The peak of a group is the options' rate for the task times the group's `lr_factor`, or the rate that a plugin or hook has
    set before the first update. The schedule sets every later rate, so it is an error if anything else sets a rate during the
    task.

    Args:
        optimizer: the task's optimiser.
        options: `lr`, and `lr_by_task` by name of the task.
        task: name of the task.
        schedule: the hook `learning_rate(step, peak, updates)`. It counts the updates of the stage.
        begin_stage: called with the number of each stage before its first update.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        options: TrainingOptions,
        task: str,
        schedule: Callable[[int, float, int], float],
        begin_stage: Callable[[int], None],
    ):
        peak = options.lr_by_task.get(task, options.lr)
        self._optimizer, self._schedule, self._begin_stage = optimizer, schedule, begin_stage
        self._stage_at, self._stage = options.stage_at, -1
        factors = [group.get("lr_factor", 1.0) for group in optimizer.param_groups]
        self._peaks = [
            peak * factor if group["lr"] == options.lr * factor else group["lr"]
            for group, factor in zip(optimizer.param_groups, factors, strict=True)
        ]
        self._set: list[float] = []

    def enter(self, step: int, updates: int) -> Stage:
        """Begin the stage of update `step` and every stage before it, unless they have begun. Return the stage."""
        stage = stage_of(step, updates, self._stage_at)
        while self._stage < stage.number:
            self._stage += 1
            self._begin_stage(self._stage)
        return stage

    def set(self, step: int, updates: int) -> float:
        """Set the rates of update `step` and return the first group's. Raises UserError as `check` does."""
        self.check()
        stage = self.enter(step, updates)
        groups = self._optimizer.param_groups
        self._peaks += [group["lr"] for group in groups[len(self._peaks) :]]
        length = stage.end - stage.start
        self._set = [self._schedule(step - stage.start, peak, length) for peak in self._peaks[: len(groups)]]
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
