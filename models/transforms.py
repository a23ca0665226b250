"""From an image (PIL or uint8 tensor) to the uint8 square that the encoder takes.

Pixels stay uint8 until they are on the device, where the encoder normalises them: a quarter of the memory traffic, and the
same numbers, because resizing a PIL image rounds to uint8 in the reference protocols too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from models.registry import UserError

INTERPOLATIONS = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
RESIZE_MODES = ("shortest", "squash", "longest")
# A strip longer than this many times its width is cut before "shortest" resizes it; the crop lies well inside.
STRIP = 32


class Preprocess(NamedTuple):
    """How a model wants its images.

    `size`: side of the square in pixels. `resize_mode`: "shortest" (shorter side to `size`, centre crop), "squash" (both
    sides to `size`) or "longest" (longer side to `size`, padded with `fill`, 0..255, to the square). The names are open_clip's.
    """

    size: int
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0

    @classmethod
    def of(cls, given: int | Preprocess) -> Preprocess:
        """Of a size alone "shortest" and bicubic, as ZSCL."""
        return given if isinstance(given, Preprocess) else cls(int(given))

    def same(self, other: Preprocess) -> bool:
        """Whether the same images come out: `fill` counts only where "longest" pads."""
        pads = self.resize_mode == "longest"
        return self == (other if pads else other._replace(fill=self.fill))

    def description(self) -> str:
        """Return size, resize mode and interpolation in words, for messages."""
        return f"{self.size} x {self.size} pixels ({self.resize_mode}, {self.interpolation})"

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Preprocess:
        """From the `preprocess_cfg` of an open_clip model.

        Raises UserError for an input that is not square, or a resize mode or interpolation that is unknown.
        """
        size = config["size"]
        sides = {int(side) for side in ((size,) if isinstance(size, int) else size)}
        if len(sides) != 1:
            raise UserError(f"The model's input of {tuple(size)} pixels is not square.")
        interpolation = config.get("interpolation") or "bicubic"
        # "random" is a training augmentation; open_clip evaluates such models with bicubic.
        interpolation = "bicubic" if interpolation == "random" else interpolation
        resize_mode = config.get("resize_mode") or "shortest"
        if interpolation not in INTERPOLATIONS or resize_mode not in RESIZE_MODES:
            raise UserError(f"The model's preprocessing is unknown: resize mode {resize_mode!r}, {interpolation!r}.")
        return cls(sides.pop(), resize_mode, interpolation, int(config.get("fill_color") or 0))


def evaluation_transform(preprocess: int | Preprocess) -> Callable[[Any], torch.Tensor]:
    """Image -> uint8 [3, size, size], the way the model was evaluated. An int: `Preprocess.of`.

    The pixels are those of open_clip's `image_transform`, which converts to RGB after resizing too, except for 16-bit
    greyscale (`eight_bit`), for padding (in RGB, so that `fill` is never a palette index or CMYK ink), and for strips that
    are more than 32 times as long as wide, whose ends are cut off first (resized whole they can take gigabytes; the pixels
    are the same up to rounding).
    """
    return _Evaluation(Preprocess.of(preprocess))


def training_transform(preprocess: int | Preprocess) -> Callable[[Any], torch.Tensor]:
    """Random resized crop (area 0.9 to 1, aspect 3/4 to 4/3), RGB: uint8 [3, size, size]; no flip.

    ZSCL's training transform (bicubic); RGB comes after resizing, as there, which matters for palette images. Every resize
    mode trains with it, as in open_clip; the model's interpolation is kept (our choice: open_clip always takes bicubic).
    """
    given = Preprocess.of(preprocess)
    crop = v2.RandomResizedCrop(given.size, scale=(0.9, 1.0), interpolation=INTERPOLATIONS[given.interpolation], antialias=True)
    return v2.Compose([eight_bit, crop, to_rgb])


def to_rgb(image: Any) -> torch.Tensor:
    """uint8 [3, H, W] of a PIL image of any mode, or of a uint8 tensor with one or three channels."""
    if isinstance(image, torch.Tensor):
        return image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    return F.pil_to_tensor(eight_bit(image).convert("RGB"))


def eight_bit(image: Any) -> Any:
    """16-bit greyscale PIL images (modes "I;16..." and "I", as PNG files hold them) scaled from 0..65535 to 0..255, mode "L".

    Everything else is returned as it is. Pillow's own conversion would clip every value over 255 to white.

    Raises UserError for floating-point images (mode "F"), whose scale is unknown here.
    """
    if not isinstance(image, torch.Tensor) and image.mode == "F":
        raise UserError(
            "An image has floating-point values, and their scale is unknown: convert it to 8 bits, or pass the dataset through "
            "`benchmarks.own.from_dataset`, which finds one scale for all images."
        )
    if isinstance(image, torch.Tensor) or not (image.mode == "I" or image.mode.startswith("I;16")):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


@dataclass(frozen=True)
class _Evaluation:
    """A class, not a closure, so that loader processes can be started with it on every platform."""

    preprocess: Preprocess

    def __call__(self, image: Any) -> torch.Tensor:
        size, mode, _, fill = self.preprocess
        image = eight_bit(image)
        height, width = F.get_size(image)
        if mode == "squash":
            return to_rgb(self._resize(image, [size, size]))
        if mode == "longest":
            ratio = max(height, width) / size
            # The shorter side of a strip would round to nothing.
            image = to_rgb(self._resize(image, [max(1, round(height / ratio)), max(1, round(width / ratio))]))
            top, left = size - image.shape[1], size - image.shape[2]
            return F.pad(image, [left // 2, top // 2, (left + 1) // 2, (top + 1) // 2], fill=fill)
        # An image of the right size would only be copied: the mini edition's images are drawn at the model's size.
        if not isinstance(image, torch.Tensor) or min(height, width) != size:
            image = self._resize(_cut_strip(image, height, width), [size])
        return to_rgb(F.center_crop(image, [size, size]))

    def _resize(self, image: Any, size: list[int]) -> Any:
        return F.resize(image, size, interpolation=INTERPOLATIONS[self.preprocess.interpolation], antialias=True)


def _cut_strip(image: Any, height: int, width: int) -> Any:
    """The middle of an image that is a very long strip. As much goes from either end, so the centre stays the centre."""
    limit = STRIP * min(height, width)
    top, left = (max(0, side - limit) // 2 for side in (height, width))
    return F.crop(image, top, left, height - 2 * top, width - 2 * left) if top or left else image
