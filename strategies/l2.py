"""L2: stay near the weights that a task started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.engine.option_checks import check_not_negative
from strategies.engine.strategy import Batch, Strategy


class L2(Strategy):
    """Fine-tuning with an L2 penalty to the start of the task: ZSCL's baseline "WC", weight consolidation (2303.06628).

    Loss: cross-entropy + l2 * the sum of squared differences of all trainable parameters to their values at the start of the
    task. Under LoRA these are LoRA's own matrices, not the changes that they make. The released code's sum also has the fixed
    logit scale, which adds 0.

    Default: l2 1, from the released script. Command: `python cli.py bench mtil --strategy l2`.
    Expected, mini edition, Order I, seed 0: Transfer 68.7, Average 60.9, Last 61.6.
    """

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        l2: float = 1.0

        def __post_init__(self) -> None:
            super().__post_init__()
            check_not_negative("l2", self.l2)

    def before_experience(self) -> None:
        super().before_experience()
        self.anchor = [p.detach().clone() for p in self.trainable] if self.options.l2 else []

    def compute_loss(self, batch: Batch) -> Tensor:
        loss = super().compute_loss(batch)
        if not self.options.l2:
            return loss
        drift = squared_distance(self.trainable, self.anchor, foreach=not self.plain)
        self.log(cross_entropy=loss, l2=drift)
        return loss + self.options.l2 * drift


def squared_distance(parameters: Sequence[Tensor], anchor: Sequence[Tensor], foreach: bool = True) -> Tensor:
    """Sum over all tensors of the squared differences, a scalar with gradient; `foreach` False: one after another."""
    if not foreach:
        return sum((((p - a) ** 2).sum() for p, a in zip(parameters, anchor, strict=True)), torch.zeros(()))
    differences = torch._foreach_sub(list(parameters), list(anchor))
    return torch.stack([d.square().sum() for d in differences]).sum()
