"""Gates of a mixture of experts: the weight of each expert for each input, and how evenly experts are used."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_NOISE = 0.01
"""Smallest deviation of the noise on a gate's scores in training, as in MoE-Adapters."""


def noisy_scores(scores: Tensor, spread: Tensor, normal: Tensor) -> Tensor:
    """Return scores with noise for training: scores + (softplus(spread) + 0.01) * normal.

    Args:
        scores: scores of the experts [B, E].
        spread: learned spreads [B, E].
        normal: draws of a standard normal distribution [B, E].
    """
    return scores + (F.softplus(spread) + LEAST_NOISE) * normal


def top_gates(scores: Tensor, count: int = 2) -> Tensor:
    """Return the weights of the experts: a softmax over the `count` largest scores of each row, 0 for the others.

    Args:
        scores: scores of the experts [B, E].
        count: experts per row; all if there are fewer.

    Returns:
        Weights [B, E], each row with sum 1.
    """
    largest = scores.topk(min(count, scores.shape[-1]), dim=-1)
    # On a GPU, autocast computes the softmax of bfloat16 scores in float32.
    weights = torch.softmax(largest.values, dim=-1)
    return torch.zeros_like(scores, dtype=weights.dtype).scatter(-1, largest.indices, weights)


def imbalance(gates: Tensor) -> Tensor:
    """Return the squared coefficient of variation of the experts' importance plus that of their load.

    Importance is the sum of an expert's weights over the batch. Load is the number of inputs with a weight above 0; it has no
    gradient. The variation of n values v is their sample variance divided by (mean^2 + 1e-10), and 0 for one expert.

    Args:
        gates: weights of the experts [B, E].
    """
    return _variation(gates.sum(dim=0)) + _variation((gates > 0).sum(dim=0).to(gates))


def most_chosen(counts: Tensor, count: int = 2) -> list[int]:
    """Return the experts that were chosen most often, in their order; at a tie the one with the smaller number.

    Args:
        counts: how often each expert was chosen [E].
        count: number of experts to return.
    """
    order = torch.sort(counts, descending=True, stable=True).indices
    return sorted(order[:count].tolist())


def _variation(values: Tensor) -> Tensor:
    if len(values) == 1:
        return values.new_zeros(())
    return values.var() / (values.mean().square() + 1e-10)
