"""Compare the answers to the same images in two passes of different batches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = {"fp32": 1e-3, "tf32": 3e-2, "bf16": 3e-2}
"""By precision: how far two passes may move two logits apart, as a share of the range of an image's logits (our choice)."""


class Changes(NamedTuple):
    """Counts of images: all, those with another answer, and those whose other answer rounding does not explain."""

    images: int
    changed: int
    dependent: int

    def __add__(self, other: object) -> Changes:
        """Return the sums of the counts."""
        assert isinstance(other, Changes)
        return Changes(*(a + b for a, b in zip(self, other, strict=True)))


def changed_answers(one: Tensor, other: Tensor, rounding: float = ROUNDING["fp32"]) -> Changes:
    """Compare the answers of two passes over the same images. The answer is the largest logit.

    Sums in another order move logits by rounding, which can decide between two almost equal ones. A changed answer is
    explained by rounding if the two logits have moved apart by at most `rounding` times the range of the image's logits in the
    first pass.

    Args:
        one: logits [N, C] of the first pass.
        other: logits [N, C] of the second pass.
        rounding: a value of `ROUNDING`.

    Example:
        >>> one = torch.tensor([[10.0, 0.0], [10.0, 0.0], [10.0, 0.0]])
        >>> other = torch.tensor([[9.0, 0.0], [4.0, 5.0], [4.999, 5.0]])
        >>> changed_answers(one, other)
        Changes(images=3, changed=2, dependent=2)
    """
    one, other = one.double(), other.double()
    before, after = one.argmax(dim=1), other.argmax(dim=1)
    changed = before != after
    # The margin of each pass between the two answers; both are 0 or more.
    margins = [
        logits.gather(1, winner[:, None]) - logits.gather(1, loser[:, None])
        for logits, winner, loser in ((one, before, after), (other, after, before))
    ]
    # Padding is far below all logits.
    finite = one > torch.finfo(torch.float32).min / 2
    spread = one.max(dim=1).values - one.masked_fill(~finite, torch.inf).min(dim=1).values
    dependent = changed & ((margins[0] + margins[1]).squeeze(1) > rounding * spread)
    return Changes(len(one), int(changed.sum()), int(dependent.sum()))
