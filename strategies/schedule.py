"""When and how fast: the learning-rate schedule and the seeds of an experience."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch

from strategies.batches import mixed_seed


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
