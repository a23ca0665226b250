"""Icons as masks, read from the icon fonts in the installed package `qtawesome`, without importing it (or Qt)."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MASK_SIZE = 64
DRAWING_SIZE = 60
_FONT_PIXELS = 96
_STYLE_ENDINGS = re.compile(r"-(line|fill|filled|outline|outlined|bold|light|thin|regular|solid)$")
# Two-tone icons have two glyphs, neither of which is the icon.
_LAYERED = "-duotone"


class Family(NamedTuple):
    """One icon font: the stems of its files in qtawesome, its licence and its title."""

    font: str
    charmap: str
    licence: str
    title: str


FAMILIES: dict[str, Family] = {
    "phosphor": Family("phosphor", "phosphor-charmap", "MIT", "Phosphor Icons"),
    "remix": Family("remixicon", "remixicon-charmap", "Apache-2.0", "Remix Icon"),
    "codicon": Family("codicon", "codicon-charmap", "CC-BY-4.0", "Codicons"),
    "elusive": Family("elusiveicons-webfont", "elusiveicons-webfont-charmap", "OFL-1.1", "Elusive Icons"),
    "fa6-solid": Family("fontawesome6-solid-webfont", "fontawesome6-solid-webfont-charmap", "OFL-1.1", "Font Awesome"),
    "fa6-regular": Family("fontawesome6-regular-webfont", "fontawesome6-regular-webfont-charmap", "OFL-1.1", "Font Awesome"),
    "fa6-brands": Family("fontawesome6-brands-webfont", "fontawesome6-brands-webfont-charmap", "OFL-1.1", "Font Awesome"),
    "fa5-solid": Family("fontawesome5-solid-webfont", "fontawesome5-solid-webfont-charmap", "OFL-1.1", "Font Awesome"),
    "material": Family(
        "materialdesignicons6-webfont", "materialdesignicons6-webfont-charmap", "Apache-2.0", "Material Design Icons"
    ),
}
MAIN_FAMILIES = ("phosphor", "remix", "codicon", "elusive")
HELDOUT_FAMILIES = ("fa6-solid", "fa6-regular", "fa6-brands", "fa5-solid")
REFERENCE_FAMILY = "material"


def plain_name(name: str) -> str:
    """Return an icon's name without the ending for its style: 'bell-fill' is 'bell'."""
    return _STYLE_ENDINGS.sub("", name)


@cache
def glyphs_by_name(family: str) -> dict[str, list[int]]:
    """Return the code points of every style of each icon of a family, by plain name, in a fixed order."""
    charmap = json.loads(_font_file(FAMILIES[family].charmap, ".json").read_text(encoding="utf-8"))
    index: dict[str, list[int]] = defaultdict(list)
    for name, code in sorted(charmap.items()):
        if not name.endswith(_LAYERED):
            index[plain_name(name)].append(int(code, 16))
    return dict(index)


@cache
def drawing(family: str, code: int) -> np.ndarray | None:
    """Return an icon as a mask, uint8 [64, 64], its longer side 60 pixels; None for an empty glyph."""
    return glyph_mask(_font(family), chr(code))


def glyph_mask(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray | None:
    """Return a character as a centred mask, uint8 [64, 64], its longer side 60 pixels; None for an empty glyph."""
    canvas = Image.new("L", (4 * _FONT_PIXELS, 3 * _FONT_PIXELS))
    ImageDraw.Draw(canvas).text((_FONT_PIXELS, _FONT_PIXELS // 2), character, font=font, fill=255)
    box = canvas.getbbox()
    if box is None:
        return None
    return centred(canvas.crop(box))


def centred(picture: Image.Image) -> np.ndarray:
    """Return a grey picture scaled to a longer side of 60 pixels and centred on uint8 [64, 64]."""
    factor = DRAWING_SIZE / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    canvas = Image.new("L", (MASK_SIZE, MASK_SIZE))
    canvas.paste(picture.resize((width, height), Image.Resampling.BOX), ((MASK_SIZE - width) // 2, (MASK_SIZE - height) // 2))
    return np.asarray(canvas)


def signatures(masks: np.ndarray) -> np.ndarray:
    """Return unit vectors [N, 1024] of masks [N, 64, 64] whose dot products are correlations of the masks at 32 x 32."""
    half = MASK_SIZE // 2
    small = masks.reshape(len(masks), half, 2, half, 2).astype(np.float32).mean(axis=(2, 4)).reshape(len(masks), -1)
    small -= small.mean(axis=1, keepdims=True)
    unit: np.ndarray = small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    return unit


def _font_file(stem: str, suffix: str) -> Path:
    # find_spec, because importing qtawesome needs a Qt binding.
    spec = importlib.util.find_spec("qtawesome")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the icons of the mini edition need the package qtawesome (pip install qtawesome)")
    files = sorted(Path(spec.origin).parent.joinpath("fonts").glob(f"{stem}-[0-9]*{suffix}"))
    if not files:
        raise FileNotFoundError(f"qtawesome has no file {stem}-*{suffix}: the mini edition needs qtawesome 1.4.2")
    return files[-1]


@cache
def _font(family: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_font_file(FAMILIES[family].font, ".ttf")), _FONT_PIXELS)
