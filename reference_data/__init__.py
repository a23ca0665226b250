"""What distillation looks at: reference images and sentences; published result tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Reference(NamedTuple):
    """Reference images, uint8 [N, 3, S, S] at the model's size, and reference sentences."""

    images: Tensor
    sentences: list[str]
