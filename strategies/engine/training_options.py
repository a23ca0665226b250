"""Options that every method has: `Strategy.Options`. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.setting import check_ranges, setting

ROLES = ("image", "text", "scale", "added")
"""Roles of parameters (`strategies.engine.optimizers.role_of`)."""


@dataclass(frozen=True)
class TrainingOptions:
    """Training options. The defaults are the paper's (MTIL, ViT-B/16); other benchmarks have their own.

    `exactness` "plain" computes as the papers' released code does, to check the short cuts of "fast": texts at the full
    context length, every output of a teacher computed again in each step, reference images in a separate pass, the tensors of
    the weights one after another. The losses are the same up to rounding, and it is much slower.

    `schedule` "one-cycle" is Smith's (1708.07120) with the numbers of torch's OneCycleLR: half a cosine from lr / 25 to lr,
    then one to lr / 250,000. The momentum does not change.

    `best_pass` reads the task's validation images after each pass over its training images, whatever the protocol among the
    task's own classes, and after the last update. Joint training takes the mean accuracy over all tasks that it trains.

    `augmentation` "none" prepares training images as evaluation images, for a comparison with other code.

    `resampling` "torch" prepares more training images per second (docs/speed.md, "Training images"). A few pixel values in a
    thousand differ by 1 of 255, rarely by 2, from Pillow's, which the papers' code uses. Test, validation and reference images
    are always resized with Pillow.
    """

    iterations: int = setting(1001, "updates per task", least=1, most=10**9)
    epochs: int = setting(
        0,
        "if above 0, passes over the task's images in place of iterations; with schedule cosine one update more, of rate 0",
        least=0,
        most=10**6,
    )
    lr: float = setting(1e-5, "peak learning rate", least=0, most=1e20)
    lr_by_task: Mapping[str, float] = setting({}, "learning rates of single tasks, in place of lr", least=0)
    batch_size: int = setting(64, "images per update", least=1, most=10**7)
    warmup: int = setting(100, "updates in which the learning rate rises to lr", least=0, most=10**9)
    label_smoothing: float = setting(0.2, "label smoothing of the cross-entropy", least=0, most=1)
    weight_decay: float = setting(
        0.0, "weight decay of every trained tensor: decoupled with adamw, added to the gradient with sgd", least=0, most=1e20
    )
    beta1: float = setting(0.9, "decay rate of AdamW's first moment", least=0, below=1)
    beta2: float = setting(0.999, "decay rate of AdamW's second moment", least=0, below=1)
    optimizer: Literal["adamw", "sgd"] = setting("adamw", "the optimiser", usual="adamw")
    momentum: float = setting(0.9, "momentum of sgd", least=0, below=1, usual=0.9)
    schedule: Literal["cosine", "constant", "one-cycle", "step"] = setting(
        "cosine",
        "the learning rate after the warm-up: half a cosine to zero, constant, or in steps; one-cycle has no warm-up",
        usual="cosine",
    )
    cycle_rise: float = setting(0.3, "share of the updates in which one-cycle's rate rises", above=0, below=1, usual=0.3)
    step_at: tuple[float, ...] = setting(
        (), "shares of the updates at which schedule=step multiplies the rate by step_factor, for example 0.3,0.7", usual=[]
    )
    step_factor: float = setting(0.1, "factor of schedule=step", above=0, most=1, usual=0.1)
    stage_at: tuple[float, ...] = setting(
        (), "shares of the updates at which a new stage begins, with its own schedule and a new optimiser state", usual=[]
    )
    lr_by_role: Mapping[str, float] = setting(
        {},
        "factors of the learning rate by role: image, text, scale, added (modules of the tuning or method)",
        least=0,
        usual={},
    )
    decays: Literal["all", "matrices"] = setting(
        "all", "tensors with weight decay: all, or those with two or more dimensions", usual="all"
    )
    best_pass: bool = setting(
        False, "end a task with the weights after the pass with the best validation accuracy on it", usual=False
    )
    start: Literal["previous", "initial"] = setting(
        "previous",
        "weights that a task starts from: those after the task before it (previous), or those of the initial model",
        usual="previous",
    )
    exactness: Literal["fast", "plain"] = setting("fast", "plain: compute as the papers' released code does, much slower")
    augmentation: Literal["crop", "none"] = setting(
        "crop", "random resized crop of training images, or none: the evaluation transform", usual="crop"
    )
    resampling: Literal["pillow", "torch"] = setting(
        "pillow",
        "library that resizes the crops of training images: pillow, or torch, which is faster and rounds differently",
        usual="pillow",
    )

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range. A subclass with further checks calls this first."""
        check_ranges(self)
        if unknown_roles := sorted(self.lr_by_role.keys() - set(ROLES)):
            raise ValueError(f"lr_by_role has the roles {', '.join(ROLES)}, got {', '.join(unknown_roles)}")
        for name in ("step_at", "stage_at"):
            shares = getattr(self, name)
            if list(shares) != sorted(set(shares)) or any(not 0 < share < 1 for share in shares):
                raise ValueError(f"{name} must be increasing numbers between 0 and 1, got {', '.join(map(str, shares))}")
        if self.resampling == "torch" and self.augmentation == "none":
            raise ValueError("resampling=torch has no effect with augmentation=none; leave out one of them")
        if self.schedule == "step" and not self.step_at:
            raise ValueError("schedule=step needs step_at, for example step_at=0.3,0.7")
