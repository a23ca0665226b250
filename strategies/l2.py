"""L2: stay near the weights that a task started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.setting import setting
from strategies.engine.later import LaterGradients
from strategies.engine.strategy import Batch, Strategy


class L2(Strategy):
    """L2: fine-tuning with a quadratic penalty on the distance to the start of the task.

    theta are all trainable parameters and theta_start their values at the start of the task:

        loss = cross-entropy + l2 * |theta - theta_start|^2

    Under --tuning lora the parameters are LoRA's matrices, not the changes that they make.

    Source:
        Zheng et al. 2023, arXiv 2303.06628: the baseline "WC", weight consolidation, of ZSCL's released code.

    Differs from the released code:
        Its sum includes the fixed logit scale, which adds 0.

    Defaults:
        l2 1, from the released script.

    Command:
        `python cli.py bench mtil --strategy l2`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of `l2`."""

        l2: float = setting(1.0, "weight of the squared distance to the start of the task", least=0)

    def before_experience(self) -> None:
        """Keep the parameters at the start of the task."""
        super().before_experience()
        self.anchor = [p.detach().clone() for p in self.trainable] if self.options.l2 else []

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return cross-entropy + l2 * |theta - theta_start|^2."""
        loss = super().compute_loss(batch)
        if not self.options.l2:
            return loss
        drift = squared_distance(self.trainable, self.anchor, foreach=not self.plain, later=self.later)
        self.log(cross_entropy=loss, l2=drift)
        return loss + self.options.l2 * drift


def squared_distance(
    parameters: Sequence[Tensor], anchor: Sequence[Tensor], foreach: bool = True, later: LaterGradients | None = None
) -> Tensor:
    """Return the sum over all tensors of the squared differences.

    With `foreach` the gradient 2 (p - a) of all tensors is computed in two calls. Autograd needs three small kernels per tensor
    for it, and starting them takes a GPU's host longer than the kernels take. Gradients are bit-exact, and so is the value on
    a CPU. On a GPU it is the sum of squared norms, which are computed in one call and agree up to rounding.

    Args:
        parameters: tensors of any shapes.
        anchor: tensors of the same shapes.
        foreach: handle all tensors in one call instead of one after another.
        later: on a GPU the gradients wait there instead of going through autograd.

    Returns:
        A scalar with gradient.
    """
    if not foreach:
        return sum((((p - a) ** 2).sum() for p, a in zip(parameters, anchor, strict=True)), torch.zeros(()))
    waits = later if on_gpu(anchor) else None
    distance: Tensor = _SquaredDistance.apply(parameters, waits, *parameters, *anchor)
    return distance


def on_gpu(tensors: Sequence[Tensor]) -> bool:
    """Return whether these tensors are on a GPU, where calls for many tensors at once pay."""
    return len(tensors) > 0 and tensors[0].is_cuda


def sum_of_squares(tensors: list[Tensor], in_one_call: bool) -> Tensor:
    """Return the sum of all squares, tensor by tensor or from the norms of all tensors, which agrees up to rounding."""
    if in_one_call:
        return torch.stack(torch._foreach_norm(tensors)).square().sum()
    return torch.stack([square.sum() for square in torch._foreach_mul(tensors, tensors)]).sum()


class _SquaredDistance(torch.autograd.Function):
    """Sum of (p - a)^2 over a list of tensors p followed by the list of their a, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, parameters: Sequence[Tensor], later: LaterGradients | None, *tensors: Tensor) -> Tensor:
        ctx.parameters, ctx.later, count = parameters, later, len(parameters)
        differences = torch._foreach_sub(tensors[:count], tensors[count:])
        ctx.save_for_backward(*differences)
        return sum_of_squares(list(differences), in_one_call=on_gpu(differences))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = torch._foreach_mul(ctx.saved_tensors, 2)
        torch._foreach_mul_(gradients, gradient)
        if ctx.later is None:
            return (None, None, *gradients, *[None] * len(gradients))
        trained = [(p, g) for p, g, needed in zip(ctx.parameters, gradients, ctx.needs_input_grad[2:], strict=False) if needed]
        ctx.later.keep([p for p, _ in trained], [g for _, g in trained])
        return (None, None, *[None] * (2 * len(gradients)))
