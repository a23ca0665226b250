"""Capital letters in the typefaces of matplotlib, tilted and crossed by stray lines."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageFont

from benchmarks.mini import render
from benchmarks.mini.domain_table import LETTERS
from benchmarks.mini.iconfonts import glyph_mask
from benchmarks.mini.render import SIZE, generator

MAIN_FONTS = (
    "DejaVuSans",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)
HELDOUT_FONTS = ("cmr10", "cmb10", "cmss10", "cmtt10", "cmmi10")


@cache
def typeface(name: str) -> ImageFont.FreeTypeFont:
    """Return a typeface of matplotlib at 96 pixels."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")), 96)


@cache
def letter_mask(font: str, letter: str) -> np.ndarray:
    """Return a capital letter as a mask, uint8 [64, 64]. Raises LookupError if the font does not have it."""
    mask = glyph_mask(typeface(font), letter.upper())
    if mask is None:
        raise LookupError(f"the font {font} has no letter {letter!r}")
    return mask


def cluttered(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a letter in one colour over and under a few stray lines."""
    ground, ink = render.contrasting(rng, 60)
    picture = render.flat(ground)
    alpha = render.place(mask, rng, (0.42, 0.8), 28, 0.12)
    before = int(rng.integers(2, 6))
    for index in range(before + int(rng.integers(1, 4))):
        if index == before:
            picture = render.paint(picture, ink, alpha)
        stroke = render.line(rng.uniform(0, SIZE, 2), rng.uniform(0, SIZE, 2), rng.uniform(0.7, 2))
        picture = render.paint(picture, render.colour(rng), stroke)
    return render.finish(render.grain(picture, rng, 14))


def images(domain: str, split: str, per_class: int, seen: set[bytes]) -> list[list[np.ndarray]]:
    """Draw one split: `per_class` pictures uint8 [3, 48, 48] for each letter, none of which is in `seen`."""
    return [_class_images(domain, split, letter, per_class, seen) for letter in LETTERS]


def _class_images(domain: str, split: str, letter: str, count: int, seen: set[bytes]) -> list[np.ndarray]:
    fonts, rng = HELDOUT_FONTS if split == "ood" else MAIN_FONTS, generator(domain, split, letter)
    return render.distinct(lambda index: cluttered(letter_mask(fonts[index % len(fonts)], letter), rng), count, seen)
