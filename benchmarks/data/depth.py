"""Convert the user's own images to 8-bit RGB: deep greyscale by one scale per dataset, transparency over white.

8-bit values have one meaning: 0 is black and 255 is white. Deeper greyscale values have not: 16 bits often hold 12, and
floating-point values end at 1 or at 255. The scale follows from the smallest and largest value of all images of a kind in a
dataset (`scale_of`), not from each image, so dark images stay darker than bright ones. docs/data.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from benchmarks.data.opening import Undecodable

FLOAT, COLOUR = "floating-point", "16-bit colour"
# Kinds whose scale the file format fixes.
KNOWN = {"12-bit": (0.0, 4095.0), "full 16-bit": (0.0, 65535.0)}
# Values converted at a time, to bound the memory for large images.
BLOCK = 2**22
PREMULTIPLIED = ("La", "RGBa")


class Scale(NamedTuple):
    """The values that become 0 and 255, whether they are a guess, and their name in messages ("12-bit")."""

    low: float
    high: float
    guess: bool
    name: str


class Scales(Protocol):
    """The scales of one set of data (`benchmarks.data.survey.Depth`)."""

    def scale(self, kind: str) -> Scale | None:
        """Return the scale of a kind, or None for a kind that the data do not have."""


def kind_of(image: Image.Image) -> str | None:
    """Return the kind of an image with more than 8 bits per channel, before it is loaded; None for 8 bits and fewer.

    Colour images of which Pillow keeps the upper 8 of 16 bits are "16-bit colour". All other kinds are greyscale.
    """
    raw = _raw_mode(image)
    if image.mode == "F":
        return FLOAT
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return COLOUR if ";16" in raw else None
    if image.format == "PPM" and not raw.startswith("I;16"):
        # Pillow has scaled the values by the largest one that the file declares.
        return "full 16-bit"
    if raw == "I;12":
        return "12-bit"
    if raw == "I;32N":
        return "unsigned 32-bit"
    if raw.startswith("I;16") and raw.endswith("S"):
        return "signed 16-bit"
    return "16-bit" if image.mode != "I" or raw.startswith("I;16") else "32-bit"


def is_deep_grey(kind: str | None) -> bool:
    """Return whether images of a kind are greyscale with more than 8 bits."""
    return kind is not None and kind != COLOUR


def scale_of(kind: str, low: float, high: float) -> Scale:
    """Return the scale of images of a kind whose values range from `low` to `high` in the whole dataset.

    The first rule that applies:
        negative values: low to high
        floating point up to 1: 0 to 1
        up to 15: 0 to high, since 0 to 255 would make the images black
        up to 255: 0 to 255
        integers up to 65,535: 0 to the largest value of the fewest bits that suffice (10, 12, 14 or 16)
        larger values: 0 to high
    """
    if kind in KNOWN:
        return Scale(*KNOWN[kind], False, kind)
    if low < 0:
        return Scale(low, high, True, f"{_number(low)} (black) to {_number(high)} (white)")
    if kind == FLOAT and high <= 1:
        return Scale(0, 1, False, "0 to 1")
    if high < 16:
        return Scale(0, max(high, 1), True, f"0 to {_number(max(high, 1))}")
    if high <= 255:
        return Scale(0, 255, "16-bit" in kind, "8-bit (0 to 255)")
    bits = next((bits for bits in (10, 12, 14, 16) if high < 2**bits), None)
    if kind == FLOAT or bits is None:
        return Scale(0, high, True, f"0 to {_number(high)}")
    return Scale(0, 2**bits - 1, bits < 16, f"{bits}-bit (0 to {2**bits - 1:,})")


def own_rgb(image: Image.Image, kind: str | None, depth: Scales | None = None) -> Image.Image:
    """Return a loaded image of any mode as 8-bit RGB.

    Args:
        image: the image.
        kind: `kind_of` of the image before it was loaded.
        depth: the scales of the data that the image belongs to; None for a single image.

    Raises:
        Undecodable: for floating-point values that are not finite.
    """
    if is_deep_grey(kind):
        scale = depth.scale(str(kind)) if depth is not None else None
        return _deep_rgb(image, str(kind), scale or scale_of(str(kind), *value_range(image, str(kind))))
    if image.has_transparency_data or image.mode in PREMULTIPLIED:
        return _over_white(image, kind)
    # Pillow would warn about the bytes of a palette's transparency. No transparency that matters is left here.
    image.info.pop("transparency", None)
    return converted(image, "RGB")


def converted(image: Image.Image, mode: str) -> Image.Image:
    """Return a loaded image in a mode. A JPEG image that has the mode is returned itself; Pillow would copy it.

    Other formats may still map the file into memory, so their images are copied.
    """
    return image if image.mode == mode and image.format == "JPEG" else image.convert(mode)


def value_range(image: Image.Image, kind: str) -> tuple[float, float]:
    """Return the smallest and largest value of a loaded deep greyscale image. Raises Undecodable for NaN and infinity."""
    low, high = np.inf, -np.inf
    for block in _blocks(values_of(image, kind)):
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise Undecodable("it has values that are not finite numbers (NaN or infinity); replace them")
    return low, high


def values_of(image: Image.Image, kind: str) -> np.ndarray:
    """Return the values [H, W] of a loaded deep greyscale image."""
    values = np.asarray(image)
    return values.view(np.uint32) if kind == "unsigned 32-bit" else values


def _deep_rgb(image: Image.Image, kind: str, scale: Scale) -> Image.Image:
    values = values_of(image, kind)
    if kind == FLOAT:
        value_range(image, kind)
    grey = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        share = (values[start : start + rows].astype(np.float64) - scale.low) * (255 / (scale.high - scale.low))
        grey[start : start + rows] = np.floor(share + 0.5).clip(0, 255).astype(np.uint8)
    if _white_is_zero(image):
        # Pillow inverts such files only for 8 bits and fewer.
        np.subtract(255, grey, out=grey)
    if isinstance(key := image.info.get("transparency"), int):
        grey[values == key] = 255
    return Image.fromarray(grey).convert("RGB")


def _over_white(image: Image.Image, kind: str | None) -> Image.Image:
    """Return round(alpha * colour + (1 - alpha) * white)."""
    if image.mode in PREMULTIPLIED:
        pixels = np.asarray(image).astype(np.uint16)
        flat = (pixels[..., :-1] + (255 - pixels[..., -1:])).clip(0, 255).astype(np.uint8)
        return Image.fromarray(flat[..., 0] if image.mode == "La" else flat).convert("RGB")
    key = image.info.get("transparency")
    if key is not None and image.mode in ("L", "RGB"):
        # Pillow scales the pixels of 2, 4 and 16 bits to 8 bits, but not the transparent colour.
        factor = {"L;2": 85, "L;4": 17}.get(image.info.get("raw mode", ""))
        if factor and isinstance(key, int):
            image.info["transparency"] = key * factor
        elif kind == COLOUR and isinstance(key, tuple):
            image.info["transparency"] = tuple(value >> 8 for value in key)
    rgba = np.asarray(image.convert("RGBA"))
    if (alpha := rgba[..., 3:]).min(initial=255) == 255:
        return Image.fromarray(np.ascontiguousarray(rgba[..., :3]))
    opaque = alpha.astype(np.uint16)
    flat = (rgba[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255
    return Image.fromarray(flat.astype(np.uint8))


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, BLOCK // max(1, values.shape[1]))
    return (values[start : start + rows] for start in range(0, len(values), rows))


def _raw_mode(image: Image.Image) -> str:
    """Return how the file stores the pixels in the terms of Pillow's decoders ("I;16B"); "" for an image without a file."""
    for tile in getattr(image, "tile", None) or ():
        raw = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
        if isinstance(raw, str):
            return raw
    return ""


def _white_is_zero(image: Image.Image) -> bool:
    return bool(image.info.get("white is zero"))


def mark(image: Image.Image) -> None:
    """Store in `info` how the file stores the pixels, which loading or turning the image would lose."""
    image.info["raw mode"] = _raw_mode(image)
    tags = getattr(image, "tag_v2", None)
    image.info["white is zero"] = image.format == "TIFF" and tags is not None and tags.get(262) == 0


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"
