"""The options that every method has: `Strategy.Options`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from strategies.engine.option_checks import check_training


@dataclass(frozen=True)
class TrainingOptions:
    """Training options; the defaults are the paper's (MTIL, ViT-B/16), other benchmarks have their own.

    `epochs` > 0 replaces `iterations` by that many passes over the task's images and one update more (ZSCL's
    class-incremental code); `lr_by_task` replaces `lr` for the tasks it names.

    `exactness`: "plain" computes as the papers' released code does, to check the short cuts of "fast" by: texts at the
    full context, everything a teacher says anew in each step, reference images in a pass of their own, one tensor of the
    weights after another. The same losses but for rounding, and much slower.
    """

    iterations: int = 1001
    epochs: int = 0
    lr: float = 1e-5
    lr_by_task: Mapping[str, float] = field(default_factory=dict)
    batch_size: int = 64
    warmup: int = 100
    label_smoothing: float = 0.2
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    exactness: Literal["fast", "plain"] = "fast"

    def __post_init__(self) -> None:
        """Raise ValueError for values that cannot work. A subclass with checks of its own calls this first."""
        check_training(self)
