"""Padding of logits, where images have different numbers of classes."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = torch.finfo(torch.float32).min
"""Padding of mixed-task batches. It is finite, so that it can be compared and copied, and lower than any logit, so that it
never wins an argmax. Losses never see it: `strategies.engine.losses` groups a batch by task and cuts each group to the classes
of its task."""


def among_candidates(logits: Tensor, groups: Tensor, asked: Tensor) -> Tensor:
    """Return logits in which only the options of each image's question compete: all others are `PADDING`.

    Args:
        logits: [B, C].
        groups: the question of each class [C].
        asked: the question of each image [B].
    """
    return logits.masked_fill(groups != asked[:, None], PADDING)
