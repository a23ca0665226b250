"""Interpolate the position embeddings of an image tower to another number of patches."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Names of position embeddings of square grids of patches: open_clip's vision transformer, timm's.
NAMES = ("visual.positional_embedding", "visual.trunk.pos_embed")


class Resized(NamedTuple):
    """Interpolated position embeddings, and the sides of the grids before and after in patches."""

    tensor: Tensor
    before: int
    after: int


def resized(embeddings: Tensor, positions: int) -> Resized | None:
    """Interpolate position embeddings: bicubic, with antialiasing, as open_clip does it when it loads a checkpoint.

    The embedding of a class token, the first one, is kept. open_clip leaves timm's towers out; here they are interpolated by
    the same formula.

    Args:
        embeddings: [N, D] or [1, N, D], with or without a class token before the square grid of patches.
        positions: the number of positions that the model has.

    Returns:
        The embeddings of the model's grid in float32, or None if one of the grids is not a square.
    """
    if embeddings.dim() not in (2, 3) or not embeddings.is_floating_point():
        return None
    flat = embeddings.reshape(-1, embeddings.shape[-1]).float()
    for extra in (1, 0):
        before, after = (math.isqrt(max(n - extra, 0)) for n in (len(flat), positions))
        if min(before, after) > 0 and before**2 + extra == len(flat) and after**2 + extra == positions:
            grid = flat[extra:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(after, after), mode="bicubic", antialias=True, align_corners=False)
            patches = grid.permute(0, 2, 3, 1).reshape(after**2, -1)
            result = torch.cat([flat[:extra], patches]).reshape(*embeddings.shape[:-2], positions, -1)
            return Resized(result, before, after)
    return None
