"""Linear auto-encoders that tell tasks apart by reconstruction error (DDAS of MoE-Adapters)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AutoEncoder(NamedTuple):
    """A linear auto-encoder x -> up (down x + down_bias) + up_bias with `down` [code, d] and `up` [d, code]."""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


def reconstruction_errors(features: Tensor, tasks: Sequence[AutoEncoder]) -> Tensor:
    """Return the mean squared error of each auto-encoder on x = sigmoid(features).

    Args:
        features: features [B, d].
        tasks: the tasks' auto-encoders.

    Returns:
        Errors [B, T].
    """
    inputs = features.sigmoid()
    return torch.stack([(_reconstruct(inputs, task) - inputs).square().mean(dim=1) for task in tasks], dim=1)


def auto_encoder(
    features: Tensor, code: int, seed: int, updates: int = 300, lr: float = 1e-3, batch_size: int = 64
) -> AutoEncoder:
    """Train an auto-encoder on a task's features with Adam and the mean squared error.

    Initial weights are uniform in +-1 / sqrt(inputs), as in torch's linear layers. Initial biases are 0.

    Args:
        features: features [N, d].
        code: width of the code.
        seed: seed of the initial values and of the batches. The global generators are not used.
        updates: number of updates.
        lr: learning rate.
        batch_size: rows per update, drawn with repetition.

    Raises:
        ValueError: `features` is empty.
    """
    if not len(features):
        raise ValueError("an auto-encoder needs at least one image")
    rows, generator = features.detach(), torch.Generator().manual_seed(seed)
    width = rows.shape[1]

    def matrix(outputs: int, inputs: int) -> Tensor:
        uniform = torch.rand(outputs, inputs, generator=generator) * 2 - 1
        return (uniform / math.sqrt(inputs)).to(rows)

    task = AutoEncoder(matrix(code, width), rows.new_zeros(code), matrix(width, code), rows.new_zeros(width))
    with torch.enable_grad():
        for tensor in task:
            tensor.requires_grad_(True)
        optimizer = torch.optim.Adam(task, lr=lr)
        for _ in range(updates):
            drawn = torch.randint(len(rows), (batch_size,), generator=generator)
            loss = reconstruction_errors(rows[drawn.to(rows.device)], [task]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimizer.step()
    return AutoEncoder(*(tensor.detach() for tensor in task))


def _reconstruct(inputs: Tensor, task: AutoEncoder) -> Tensor:
    outputs: Tensor = F.linear(F.linear(inputs, task.down, task.down_bias), task.up, task.up_bias)
    return outputs
