"""Images that a user wants to classify: files, folders, PIL images and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.data.images import read_image
from models.registry import UserError
from models.transforms import Preprocess, evaluation_transform

Picture = str | Path | Image.Image | Tensor
"""A path, a PIL image, or a uint8 tensor [3, H, W] or [1, H, W]."""


def as_list(images: Picture | Sequence[Picture]) -> list[Picture] | Tensor:
    """Return one image or several as a list; a tensor [B, 3, H, W] as it is.

    Raises:
        UserError: there is no image.
    """
    if isinstance(images, Tensor):
        pictures: list[Picture] | Tensor = images if images.dim() == 4 else [images]
    else:
        pictures = [images] if isinstance(images, (str, Path, Image.Image)) else list(images)
    if not len(pictures):
        raise UserError("There is no image to classify.")
    return pictures


def pixels(pictures: Iterable[Picture], preprocess: Preprocess) -> Tensor:
    """Return images as pixels uint8 [B, 3, S, S], with the evaluation transform of a model.

    A file is read as a user's own image: turned upright, transparency over white.

    Raises:
        UserError: naming the file, for an image that cannot be read, and for a tensor that is not uint8.
    """
    transform = evaluation_transform(preprocess)
    return torch.stack([transform(_opened(picture)) for picture in pictures])


def batches(pictures: Sequence[Picture] | Tensor, preprocess: Preprocess, size: int = 256) -> Iterator[Tensor]:
    """Yield `pixels` of at most `size` images at a time."""
    for start in range(0, len(pictures), size):
        yield pixels(pictures[start : start + size], preprocess)


def _opened(picture: Picture) -> Image.Image | Tensor:
    if isinstance(picture, (str, Path)):
        return read_image(picture, "RGB", upright=True)
    if isinstance(picture, Tensor) and (picture.dtype != torch.uint8 or picture.dim() != 3):
        raise UserError(f"An image tensor must be uint8 [3, H, W], got {picture.dtype} {list(picture.shape)}.")
    return picture
