"""Words written over pictures of any size, in the typefaces of matplotlib, with explicit random generators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.mini.render import Colour, colour, luminance

# Fonts of the operating system differ between machines, so pictures written in them would too.
TYPEFACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
)
HELDOUT_TYPEFACES = (
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)
"""Two other families (STIX and Computer Modern), for tests only."""
CONTRAST = 110
"""Least difference in luminance, 0 to 255, between a word and what is under it."""
PIXELS = 96
_CASES = (str.lower, str.upper, str.title)


@cache
def font(typeface: str) -> ImageFont.FreeTypeFont:
    """Return a typeface of matplotlib."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{typeface}.ttf")), PIXELS)


def choose(text: str, typefaces: Sequence[str], rng: np.random.Generator) -> ImageFont.FreeTypeFont:
    """Return a random one of the typefaces that have the letters of a text: those of Computer Modern have no accents."""
    plain = all(c.isascii() and (c.isalnum() or c in " -") for c in text)
    names = [name for name in typefaces if plain or not name.startswith("cm")]
    return font(names[rng.integers(len(names))])


def mask(text: str, face: ImageFont.FreeTypeFont) -> Image.Image:
    """Return a text as a grey picture without margins, one word per line, 96 pixels per em."""
    lines = text.split()
    canvas = Image.new("L", (PIXELS * (2 + max(map(len, lines))), PIXELS * (1 + 2 * len(lines))))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((canvas.width / 2, PIXELS * (1 + row)), line, font=face, fill=255, anchor="mm")
    return canvas.crop(canvas.getbbox())


def write(picture: np.ndarray, text: str, face: ImageFont.FreeTypeFont, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with a text written over it.

    Case, size, turn, place and colours are random. Half of the texts are on a label, the others have an outline.
    The text covers 60 to 97 % of the width and at most 45 % of the height, and is always inside the picture.

    Args:
        picture: uint8 [H, W, 3].
        text: the words.
        face: the typeface, 96 pixels per em.
        rng: the source of every choice.

    Returns:
        A new picture of the same type and shape.
    """
    shown = mask(_CASES[rng.integers(len(_CASES))](text), face)
    height, width = picture.shape[:2]
    share = rng.uniform(0.85 if len(text) > 6 else 0.6, 0.97)
    factor = min(share * width / shown.width, 0.45 * height / shown.height)
    margin = round(0.12 * PIXELS)
    padded = Image.new("L", (shown.width + 2 * margin, shown.height + 2 * margin))
    padded.paste(shown, (margin, margin))
    label = Image.new("L", padded.size, 255)
    angle = rng.uniform(-7, 7)
    size = tuple(max(1, round(side * factor)) for side in padded.size)
    text_alpha, label_alpha = (
        layer.resize(size, Image.Resampling.BOX).rotate(angle, Image.Resampling.BICUBIC, expand=True)
        for layer in (padded, label)
    )
    if text_alpha.width > width or text_alpha.height > height:
        fit = min(width / text_alpha.width, height / text_alpha.height)
        size = tuple(max(1, int(side * fit)) for side in text_alpha.size)
        text_alpha, label_alpha = (layer.resize(size, Image.Resampling.BOX) for layer in (text_alpha, label_alpha))
    left = rng.integers(width - text_alpha.width + 1)
    top = rng.integers(height - text_alpha.height + 1)
    box = (slice(top, top + text_alpha.height), slice(left, left + text_alpha.width))
    result: np.ndarray = picture.astype(np.float32)
    under: np.ndarray = result[box]
    alpha = np.asarray(text_alpha, dtype=np.float32)[..., None] / 255
    plate = np.asarray(label_alpha, dtype=np.float32)[..., None] / 255
    if rng.random() < 0.5:
        ground = colour(rng)
        under = under * (1 - plate) + ground * plate
        ink = contrasting(ground, rng)
    else:
        ink = contrasting(under.mean((0, 1)), rng)
        outline = ImageFilter.MaxFilter(2 * max(1, width // 96) + 1)
        around = np.asarray(text_alpha.filter(outline), dtype=np.float32)[..., None] / 255
        under = under * (1 - around) + contrasting(ink, rng) * around
    result[box] = under * (1 - alpha) + ink * alpha
    return result.round().clip(0, 255).astype(np.uint8)


def contrasting(ground: Colour, rng: np.random.Generator) -> Colour:
    """Return a colour whose luminance differs from the ground's by at least `CONTRAST`: random, or after 20 tries grey."""
    for _ in range(20):
        if abs(luminance(chosen := colour(rng)) - luminance(ground)) >= CONTRAST:
            return chosen
    return np.full(3, 250.0 if luminance(ground) < 128 else 5.0, dtype=np.float32)
