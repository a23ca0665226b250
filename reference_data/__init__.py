"""Reference images and sentences for distillation, and published results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Reference(NamedTuple):
    """Reference data of distillation.

    Attributes:
        images: uint8 [N, 3, S, S] at the model's size.
        sentences: the reference sentences.

    Example:
        >>> Reference(torch.zeros(2, 3, 48, 48, dtype=torch.uint8), ["a red car"]).sentences
        ['a red car']
    """

    images: Tensor
    sentences: list[str]
