"""Gradients of penalties on the weights, added to those of the model in one call after the backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class LaterGradients:
    """Gradients that wait for the end of the backward pass.

    Autograd adds a penalty's gradient to the model's tensor by tensor, one small kernel each, and starting them takes a GPU's
    host longer than the kernels take. A sum of two is the same in either order. A parameter that the model uses several times
    has more addends, so its gradient agrees up to rounding.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Sequence[Tensor], Sequence[Tensor]]] = []

    def keep(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Keep a gradient for each parameter."""
        self._waiting.append((parameters, gradients))

    @torch.no_grad()
    def add(self) -> None:
        """Add all kept gradients to `p.grad`."""
        waiting, self._waiting = self._waiting, []
        for parameters, gradients in waiting:
            sums, addends = [], []
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter.grad is None:
                    parameter.grad = gradient
                else:
                    sums.append(parameter.grad)
                    addends.append(gradient)
            if sums:
                torch._foreach_add_(sums, addends)
