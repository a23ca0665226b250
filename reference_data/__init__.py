"""Reference images and sentences for distillation, and published results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class ReferenceImages(Protocol):
    """A tensor of images, or a dataset that decodes them when they are indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | Tensor, /) -> Tensor:
        """Return uint8 images [n, 3, S, S]."""
        ...


class Reference(NamedTuple):
    """Reference data of distillation.

    Attributes:
        images: uint8 [N, 3, S, S] at the model's size.
        sentences: the reference sentences. In reference pairs, sentence i describes image i.
        rows: in reference pairs with other pairs for each task, the rows of each task by its name.

    Example:
        >>> Reference(torch.zeros(2, 3, 48, 48, dtype=torch.uint8), ["a red car"]).sentences
        ['a red car']
    """

    images: ReferenceImages
    sentences: list[str]
    rows: Mapping[str, range] | None = None
