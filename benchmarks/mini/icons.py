"""The icon domains: the same four families of drawings, each domain in a different style.

Splits share the drawings but no rendering: every split renders them again, turned, moved and recoloured, on other
backgrounds. `ood` renders a family that no split uses.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.mini import concepts, iconfonts, render
from benchmarks.mini.domain_table import ENTRIES
from benchmarks.mini.render import SIZE, generator

Style = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def sky(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a glyph with a soft shadow on a shaded sky."""
    picture = render.gradient(rng, render.colour(rng, 100, 230), render.colour(rng, 80, 210))
    alpha = render.place(mask, rng, (0.5, 0.9), 20, 0.09)
    if rng.random() < 0.5:
        picture = render.paint(picture, np.full(3, 35.0), 0.7 * np.roll(alpha, (2, 2), (0, 1)))
        picture = render.paint(picture, np.full(3, 255.0), alpha)
    else:
        picture = render.paint(picture, render.colour(rng, 0, 75), alpha)
    return render.finish(render.grain(picture, rng, 12))


_SIGNS = (
    ("diamond", (240, 195, 30), (20, 20, 20), (0.44, 0.56)),
    ("square", (35, 85, 165), (245, 245, 245), (0.56, 0.76)),
    ("disc", (195, 35, 45), (245, 245, 245), (0.48, 0.62)),
    ("square", (30, 120, 70), (245, 245, 245), (0.56, 0.76)),
)


def road_sign(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a glyph on a plate of one of four kinds before a blurred street."""
    picture = render.grain(render.gradient(rng, render.colour(rng, 50, 170), render.colour(rng, 50, 170)), rng, 16)
    form, plate, ink, scale = _SIGNS[rng.integers(len(_SIGNS))]
    x, y = SIZE / 2 + rng.uniform(-2.5, 2.5, 2)
    r = rng.uniform(20, 24)
    if form == "disc":
        area = render.outline(lambda canvas, k: canvas.ellipse([(x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k], 255))
    elif form == "diamond":
        area = render.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)])
    else:
        area = render.polygon([(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)])
    weathering = rng.uniform(0.7, 1.05)
    picture = render.paint(picture, np.array(plate) * weathering, area)
    picture = render.paint(picture, np.array(ink) * weathering, render.place(mask, rng, scale, 12, 0.04))
    return render.finish(render.grain(picture, rng, 11))


def app_tile(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a glyph in white or a dark colour on a rounded tile of any colour, on a plain screen."""
    picture = render.flat(render.colour(rng, 120))
    corner, inset = rng.uniform(5, 12), rng.uniform(1, 4)
    tile = _rounded(inset, SIZE - inset, corner)
    alpha = render.place(mask, rng, (0.45, 0.72), 10, 0.06)
    if rng.random() < 0.5:
        picture = render.paint(picture, render.colour(rng, 0, 170), tile)
        picture = render.paint(picture, np.full(3, 250.0), alpha)
    else:
        picture = render.paint(picture, render.colour(rng, 150), tile)
        picture = render.paint(picture, render.colour(rng, 0, 110), alpha)
    return render.finish(render.grain(picture, rng, 8))


def chalk(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a glyph in grainy, slightly blurred pale chalk on a dark board."""
    picture = render.grain(render.gradient(rng, render.colour(rng, 10, 75), render.colour(rng, 10, 75)), rng, 10)
    alpha = render.place(mask, rng, (0.6, 0.92), 15, 0.07)
    soft = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    dust = rng.uniform(0.45, 1, (SIZE, SIZE)).astype(np.float32)
    picture = render.paint(picture, render.colour(rng, 185), np.asarray(soft, dtype=np.float32) / 255 * dust)
    return render.finish(render.grain(picture, rng, 6))


def button(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a glyph pressed into a bevelled plate that is lit from above."""
    picture = render.flat(render.colour(rng, 60, 200))
    face = render.colour(rng, 70, 230)
    inset = rng.uniform(2, 5)
    for offset, shade in ((-1.2, 1.25), (1.2, 0.7), (0.0, 1.0)):
        low, high = inset + offset, SIZE - inset + offset
        plate = _rounded(low, high, 6)
        picture = render.paint(picture, (face * shade).clip(0, 255), plate)
    ink = render.colour(rng, 0, 50) if render.luminance(face) > 130 else render.colour(rng, 210)
    picture = render.paint(picture, ink, render.place(mask, rng, (0.45, 0.7), 8, 0.04))
    return render.finish(render.grain(picture, rng, 6))


def _rounded(low: float, high: float, corner: float) -> np.ndarray:
    """Return a square from (low, low) to (high, high) with round corners, as an alpha."""
    return render.outline(lambda canvas, k: canvas.rounded_rectangle([low * k, low * k, high * k, high * k], corner * k, 255))


STYLES: dict[str, Style] = {
    "nature": sky,
    "transport": road_sign,
    "logos": app_tile,
    "objects": chalk,
    "buttons": button,
}


def drawings(domain: str, classname: str, families: tuple[str, ...]) -> list[list[np.ndarray]]:
    """Return the masks of a class, one list per family that has the class. Raises LookupError if no family has it."""
    names = concepts.icon_names(concepts.ICON_DOMAINS[domain], classname)
    masks_by_family = []
    for family in families:
        index = iconfonts.glyphs_by_name(family)
        codes = sorted({code for name in names for code in index.get(name, ())})
        masks = [mask for code in codes if (mask := iconfonts.drawing(family, code)) is not None]
        if masks:
            masks_by_family.append(masks)
    if not masks_by_family:
        raise LookupError(f"no icon for class {classname!r} of {domain!r} in {', '.join(families)}")
    return masks_by_family


def images(domain: str, split: str, per_class: int, seen: set[bytes]) -> list[list[np.ndarray]]:
    """Draw one split: `per_class` pictures uint8 [3, 48, 48] for each class, none of which is in `seen`."""
    return [_class_images(domain, split, classname, per_class, seen) for classname in ENTRIES[domain].classnames]


def _class_images(domain: str, split: str, classname: str, count: int, seen: set[bytes]) -> list[np.ndarray]:
    """Draw one class. The families take turns."""
    style, rng = STYLES[domain], generator(domain, split, classname)
    families = iconfonts.HELDOUT_FAMILIES if split == "ood" else iconfonts.MAIN_FAMILIES
    masks_by_family = drawings(domain, classname, families)

    def one(index: int) -> np.ndarray:
        masks = masks_by_family[index % len(masks_by_family)]
        return style(masks[rng.integers(len(masks))], rng)

    return render.distinct(one, count, seen)
