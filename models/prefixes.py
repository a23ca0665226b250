"""Key/value prefixes: an attention branch with a separate softmax, whose output is added to a block's attention (DIKI)."""

from __future__ import annotations

import torch
from torch import Tensor


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
