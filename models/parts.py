"""Rank-one parts of low-rank updates, of which each input chooses its own (MoRAM)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def part_weights(scores: Tensor, most: int, temperature: float, least: float = 0.0) -> Tensor:
    """Return the weight of each part of an input.

    The scores are divided by their length over the parts. The `most` largest are softmaxed at the temperature, the others have
    weight 0, and so have weights below `least`.

    Args:
        scores: A x [..., parts].
        most: number of parts that an input chooses at most.
        temperature: temperature of the softmax.
        least: smallest weight that counts.

    Returns:
        Weights [..., parts].
    """
    unit = F.normalize(scores, dim=-1)
    if most < unit.shape[-1]:
        chosen = unit.topk(most, dim=-1)
        weights = torch.zeros_like(unit).scatter(-1, chosen.indices, torch.softmax(chosen.values / temperature, dim=-1))
    else:
        weights = torch.softmax(unit / temperature, dim=-1)
    return weights.masked_fill(weights < least, 0) if least > 0 else weights


def mixed_update(x: Tensor, a: Tensor, b: Tensor, most: int, temperature: float, least: float = 0.0) -> Tensor:
    """Return B (A x * w), where w are the `part_weights` of A x.

    Args:
        x: inputs [..., in].
        a: A [parts, in].
        b: B [out, parts].
        most: as in `part_weights`.
        temperature: as in `part_weights`.
        least: as in `part_weights`.

    Returns:
        Outputs [..., out].
    """
    scores = F.linear(x, a)
    return F.linear(scores * part_weights(scores, most, temperature, least), b)
