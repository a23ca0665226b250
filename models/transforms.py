"""From an image (PIL or uint8 tensor) to the uint8 square that the encoder takes.

Pixels stay uint8 until they are on the device, where the encoder normalises them: a quarter of the memory traffic, and the
same numbers, because resizing a PIL image rounds to uint8 in the reference protocols too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torchvision.transforms import InterpolationMode, v2


def evaluation_transform(size: int) -> Callable[[Any], torch.Tensor]:
    """Resize the shorter side (bicubic), centre crop, RGB: uint8 [3, size, size]. ZSCL's evaluation transform."""
    return v2.Compose(
        [
            _resize_if_needed(size),
            v2.CenterCrop(size),
            v2.Lambda(to_rgb),
        ]
    )


def training_transform(size: int) -> Callable[[Any], torch.Tensor]:
    """Random resized crop (area 0.9 to 1, aspect 3/4 to 4/3, bicubic), RGB: uint8 [3, size, size]; no flip.

    ZSCL's training transform; RGB comes after resizing, as there, which matters for palette and greyscale images.
    """
    crop = v2.RandomResizedCrop(size, scale=(0.9, 1.0), interpolation=InterpolationMode.BICUBIC, antialias=True)
    return v2.Compose([crop, v2.Lambda(to_rgb)])


def to_rgb(image: Any) -> torch.Tensor:
    """uint8 [3, H, W] of a PIL image of any mode, or of a uint8 tensor with one or three channels."""
    if isinstance(image, torch.Tensor):
        return image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    return v2.functional.pil_to_tensor(image.convert("RGB"))


def _resize_if_needed(size: int) -> Callable[[Any], Any]:
    resize = v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)

    def apply(image: Any) -> Any:
        # An image of the right size would only be copied: the mini edition's images are drawn at the model's size.
        if isinstance(image, torch.Tensor) and min(image.shape[-2:]) == size:
            return image
        return resize(image)

    return apply
