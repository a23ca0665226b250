"""Convert an image (PIL or uint8 tensor) to the uint8 square that the encoder takes.

Pixels stay uint8 until they are on the device, where the encoder normalises them. This is a quarter of the memory traffic
and gives the same numbers, because resizing a PIL image rounds to uint8 in the reference protocols too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from models.random_crop import crop_box
from models.registry import UserError

Picture = Image.Image | torch.Tensor
"""An image of a dataset: a PIL image, or a uint8 tensor [3, H, W] or [1, H, W]."""
Transform = Callable[[Picture], torch.Tensor]
INTERPOLATIONS = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
RESIZE_MODES = ("shortest", "squash", "longest")
RESAMPLING = {
    "pillow": "Pillow resizes training images, as in the papers' code",
    "torch": "torch resizes them, faster; a few values in a thousand differ by 1 of 255, rarely by 2",
}
# A strip longer than this many times its width is cut before "shortest" resizes it. The crop is well inside.
STRIP = 32


class Preprocess(NamedTuple):
    """Preprocessing of a model's images. The names are open_clip's.

    Attributes:
        size: side of the square in pixels.
        resize_mode: "shortest" (shorter side to `size`, centre crop), "squash" (both sides to `size`) or "longest" (longer side
            to `size`, padded to the square).
        interpolation: "bicubic" or "bilinear".
        fill: value of the padding of "longest", 0..255.
    """

    size: int
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"
    fill: int = 0

    @classmethod
    def of(cls, preprocess: int | Preprocess) -> Preprocess:
        """Return the preprocessing itself, or for a size "shortest" and bicubic as in ZSCL."""
        return preprocess if isinstance(preprocess, Preprocess) else cls(int(preprocess))

    def same(self, other: Preprocess) -> bool:
        """Return whether the results are the same images. `fill` matters only where "longest" pads."""
        pads = self.resize_mode == "longest"
        return self == (other if pads else other._replace(fill=self.fill))

    def description(self) -> str:
        """Return size, resize mode and interpolation in words, for messages."""
        return f"{self.size} x {self.size} pixels ({self.resize_mode}, {self.interpolation})"

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any]) -> Preprocess:
        """Return the preprocessing of an open_clip model's `preprocess_cfg`.

        Raises:
            UserError: the input is not square, or the resize mode or interpolation is unknown.
        """
        size = config["size"]
        sides = {int(side) for side in ((size,) if isinstance(size, int) else size)}
        if len(sides) != 1:
            raise UserError(f"The model takes images of {tuple(size)} pixels; only square inputs are supported.")
        interpolation = config.get("interpolation") or "bicubic"
        # "random" is a training augmentation; open_clip evaluates such models with bicubic.
        interpolation = "bicubic" if interpolation == "random" else interpolation
        resize_mode = config.get("resize_mode") or "shortest"
        if interpolation not in INTERPOLATIONS or resize_mode not in RESIZE_MODES:
            raise UserError(
                f"The model's resize mode {resize_mode!r} or interpolation {interpolation!r} is not supported; supported are "
                f"{', '.join(RESIZE_MODES)} and {', '.join(INTERPOLATIONS)}."
            )
        return cls(sides.pop(), resize_mode, interpolation, int(config.get("fill_color") or 0))


def evaluation_transform(preprocess: int | Preprocess) -> Transform:
    """Return the transform of evaluation: image -> uint8 [3, size, size], as the model was evaluated.

    The pixels are those of open_clip's `image_transform`, which also converts to RGB after resizing, with three exceptions:

    - 16-bit greyscale (`eight_bit`).
    - Padding is in RGB, so that `fill` is never a palette index or CMYK ink.
    - Strips more than 32 times as long as wide are cut at their ends first. Resized whole they can take gigabytes. The pixels
      are the same up to rounding.

    Args:
        preprocess: the model's preprocessing, or a size in pixels (`Preprocess.of`).
    """
    return _Evaluation(Preprocess.of(preprocess))


def training_transform(preprocess: int | Preprocess, resampling: str = "pillow") -> Transform:
    """Return the transform of training: image -> uint8 [3, size, size] by a random resized crop, without a flip.

    The crop has 0.9 to 1 of the area and an aspect of 3/4 to 4/3. This is ZSCL's training transform (bicubic). RGB comes after
    resizing, as there, which matters for palette images. Every resize mode trains with it, as in open_clip. The model's
    interpolation is used (our choice: open_clip always uses bicubic).

    Args:
        preprocess: the model's preprocessing, or a size in pixels (`Preprocess.of`).
        resampling: a name in `RESAMPLING`. "torch" resizes RGB and greyscale PIL images with torch, whose weights have 15
            bits where Pillow's have 22. Images of other modes are resized with Pillow, tensors with torch in any case.
    """
    return _Training(Preprocess.of(preprocess), resampling)


def to_rgb(image: Picture) -> torch.Tensor:
    """Return uint8 [3, H, W] of a PIL image of any mode, or of a uint8 tensor with one or three channels."""
    if isinstance(image, torch.Tensor):
        return image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    image = eight_bit(image)
    pixels: torch.Tensor = F.pil_to_tensor(image if image.mode == "RGB" else image.convert("RGB"))
    return pixels


@overload
def eight_bit(image: Image.Image) -> Image.Image: ...
@overload
def eight_bit(image: torch.Tensor) -> torch.Tensor: ...
def eight_bit(image: Picture) -> Picture:
    """Scale 16-bit greyscale PIL images (modes "I;16..." and "I", as in PNG files) from 0..65535 to 0..255, mode "L".

    Every other image is returned unchanged. Pillow's conversion would clip every value over 255 to white.

    Raises:
        UserError: the image has floating-point values (mode "F"), whose scale is unknown.
    """
    if isinstance(image, torch.Tensor):
        return image
    if image.mode == "F":
        raise UserError(
            "An image has floating-point values of unknown scale. Convert it to 8 bits, or pass the dataset through "
            "`benchmarks.own.from_dataset`, which determines one scale for all images."
        )
    if not (image.mode == "I" or image.mode.startswith("I;16")):
        return image
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


@dataclass(frozen=True)
class _Evaluation:
    """The evaluation transform, as a class so that loader processes can be started with it on every platform."""

    preprocess: Preprocess

    def __call__(self, image: Picture) -> torch.Tensor:
        size, mode, _, fill = self.preprocess
        image = eight_bit(image)
        height, width = F.get_size(image)
        if mode == "squash":
            return to_rgb(self._resize(image, [size, size]))
        if mode == "longest":
            ratio = max(height, width) / size
            # The shorter side of a strip would round to 0.
            image = to_rgb(self._resize(image, [max(1, round(height / ratio)), max(1, round(width / ratio))]))
            top, left = size - image.shape[1], size - image.shape[2]
            padded: torch.Tensor = F.pad(image, [left // 2, top // 2, (left + 1) // 2, (top + 1) // 2], fill=fill)
            return padded
        # An image of the right size would only be copied. The mini edition's images are drawn at the model's size.
        if not isinstance(image, torch.Tensor) or min(height, width) != size:
            image = self._resize(_cut_strip(image, height, width), [size])
        return to_rgb(F.center_crop(image, [size, size]))

    def _resize(self, image: Picture, size: list[int]) -> Picture:
        """Resize with antialiasing: to height and width, or the shorter side to one number."""
        interpolation = INTERPOLATIONS[self.preprocess.interpolation]
        resized: Picture = F.resize(image, size, interpolation=interpolation, antialias=True)
        return resized


@dataclass(frozen=True)
class _Training:
    """The training transform, as a class for the same reason."""

    preprocess: Preprocess
    resampling: str

    def __call__(self, image: Picture) -> torch.Tensor:
        image = eight_bit(image)
        top, left, height, width = crop_box(*F.get_size(image))
        if self.resampling == "torch" and isinstance(image, Image.Image) and image.mode in ("RGB", "L"):
            # Cut out as an array: half of the time of F.pil_to_tensor and a crop.
            pixels = np.asarray(image)[top : top + height, left : left + width].copy()
            image = torch.from_numpy(pixels.reshape(height, width, -1)).permute(2, 0, 1)
            top, left = 0, 0
        size, interpolation = self.preprocess.size, INTERPOLATIONS[self.preprocess.interpolation]
        box = (top, left, height, width)
        return to_rgb(F.resized_crop(image, *box, [size, size], interpolation=interpolation, antialias=True))


def _cut_strip(image: Picture, height: int, width: int) -> Picture:
    """Return the middle of an image that is a very long strip. Both ends lose the same, so the centre does not move."""
    limit = STRIP * min(height, width)
    top, left = (max(0, side - limit) // 2 for side in (height, width))
    cut: Picture = F.crop(image, top, left, height - 2 * top, width - 2 * left) if top or left else image
    return cut
