"""Key/value prefixes: an attention branch with a separate softmax, whose output is added to a block's attention (DIKI)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def prefix_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return what prefixes add to the output of an attention, before its output matrix.

    softmax_p(query . keys_p / sqrt(D)) values. The softmax is separate from the block's, so with values of zero the addition is
    zero and the block's output is unchanged. Prefixes that share the block's softmax would take weight from its tokens.

    Args:
        query: queries [..., H, L, D] of H heads of width D.
        keys: learned keys [..., H, P, D].
        values: learned values [..., H, P, D].

    Returns:
        The addition [..., H, L, D].
    """
    scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ values


class Prefixes(nn.Module):
    """Learned keys and values for an attention (`models.places.in_attention`).

    Keys start uniform in -1..1 and values at zero (DIKI), so new prefixes add nothing.

    Args:
        heads: number H of heads.
        head_width: width D of a head.
        count: number P of prefixes.
    """

    def __init__(self, heads: int, head_width: int, count: int):
        super().__init__()
        self.keys = nn.Parameter(torch.rand(heads, count, head_width) * 2 - 1)
        self.values = nn.Parameter(torch.zeros(heads, count, head_width))

    def forward(self, query: Tensor) -> Tensor:
        """Return the addition [B, H, L, D] for queries [B, H, L, D]."""
        return prefix_attention(query, self.keys, self.values)
