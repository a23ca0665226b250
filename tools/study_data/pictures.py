"""Source pictures, and how an image of 48 x 48 pixels is made of one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.mini import render

SIDE = 96
"""Side of most source pictures in pixels."""
_MARGIN = 1 / 16
_OVERSAMPLING = 2


class Source(NamedTuple):
    """One source picture. All images that are drawn of it are in one split.

    Attributes:
        key: a name that is unique in the task.
        group: pictures of one group are in one split, such as the same flag by two vendors.
        label: the index of the class.
        image: RGBA and square.
    """

    key: str
    group: str
    label: int
    image: Image.Image


class Look(NamedTuple):
    """The style in which images are drawn of source pictures.

    Attributes:
        scale: least and greatest side of the picture as a share of the image.
        turn: greatest turn in degrees.
        shift: greatest shift as a share of the image.
        ground: least and greatest value of a channel of the background, 0 to 255.
        ink: whether the picture is a mask that is painted in a random colour.
        plain: whether the image is the picture itself, resized, without any random change.
    """

    scale: tuple[float, float] = (0.8, 1.0)
    turn: float = 8.0
    shift: float = 0.04
    ground: tuple[float, float] = (170.0, 255.0)
    ink: bool = False
    plain: bool = False


def squared(picture: Image.Image, side: int = SIDE) -> Image.Image | None:
    """Return the visible part of a picture centred on a square, in mode RGBA, with a margin; None if nothing is visible."""
    rgba = picture.convert("RGBA")
    box = rgba.getchannel("A").getbbox()
    if box is None:
        return None
    rgba = rgba.crop(box)
    factor = side * (1 - 2 * _MARGIN) / max(rgba.size)
    width, height = (max(1, round(length * factor)) for length in rgba.size)
    canvas = Image.new("RGBa", (side, side))
    small = rgba.convert("RGBa").resize((width, height), Image.Resampling.BOX)
    canvas.paste(small, ((side - width) // 2, (side - height) // 2))
    return canvas.convert("RGBA")


def mask(grey: Image.Image) -> Image.Image:
    """Return a grey picture, white on black, as black ink with the grey values as alpha."""
    return Image.merge("RGBA", [Image.new("L", grey.size)] * 3 + [grey])


def image(source: Source, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return one image of a source picture, uint8 [3, 48, 48]."""
    if look.plain:
        pixels = source.image.convert("RGB").resize((render.SIZE, render.SIZE), Image.Resampling.BOX)
        return np.ascontiguousarray(np.asarray(pixels).transpose(2, 0, 1))
    placed = _placed(source.image, look, rng)
    alpha = placed[..., 3:] / 255
    first, second = (rng.uniform(*look.ground, 3).astype(np.float32) for _ in range(2))
    if look.ink:
        first, ink = render.contrasting(rng, 100)
        return render.finish(first * (1 - alpha) + ink * alpha)
    ground = render.gradient(rng, first, second)
    return render.finish(ground * (1 - alpha) + placed[..., :3])


def _placed(picture: Image.Image, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return a picture turned, scaled and moved at random, float32 [48, 48, 4], its colours multiplied by alpha."""
    side = render.SIZE * _OVERSAMPLING
    factor = rng.uniform(*look.scale) * side / picture.width
    angle = np.deg2rad(rng.uniform(-look.turn, look.turn))
    x, y = side * (0.5 + rng.uniform(-look.shift, look.shift, 2))
    cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
    half = picture.width / 2
    coefficients = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
    moved = picture.convert("RGBa").transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(moved.reduce(_OVERSAMPLING), dtype=np.float32)
