"""The pretraining pool: named pictures from packages that no domain of the mini edition uses.

`load_or_make(folder)` returns masks, uint8 [N, 64, 64] (icons, logos, letters, digits, shapes, groups of shapes), and colour
pictures, uint8 [M, 4, 64, 64] (emoji), each with a kind and a subject. An icon that is nearly the same drawing as one in a
domain is left out. This is not possible for logos, because every drawing of a logo is nearly the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFont

from benchmarks.mini import cache, concepts, iconfonts
from benchmarks.mini.domain_table import DIGITS, LETTERS
from benchmarks.mini.iconfonts import HELDOUT_FAMILIES, MAIN_FAMILIES, centred, glyph_mask
from tools import icon_names as names
from tools import pool_shapes, sources
from tools.sources import SOURCES, Source
from tools.study_data import svg

POOL_VERSION = 1
ICON_DOMAINS = tuple(d for d in concepts.ICON_DOMAINS if d != "logos")
SAME_DRAWING = 0.97
# Fluent has every icon in up to seven sizes, Material Symbols in three corner styles.
_STYLES: dict[str, Callable[[str], bool]] = {
    "@iconify-json/fluent": lambda name: name.endswith(("-24-filled", "-24-regular")),
    "@iconify-json/material-symbols": lambda name: not name.endswith(("-rounded", "-sharp")),
    "@iconify-json/healthicons": lambda name: not name.endswith(("-negative", "-24px")),
    "@iconify-json/solar": lambda name: name.endswith(("-bold", "-linear", "-outline")),
    "@iconify-json/maki": lambda name: not name.endswith("-11"),
    "@iconify-json/devicon": lambda name: not name.endswith("-wordmark"),
}


class Pool(NamedTuple):
    """Masks and colour pictures with their kinds and subjects, which are string arrays of the same length."""

    masks: np.ndarray
    mask_kinds: np.ndarray
    mask_subjects: np.ndarray
    pictures: np.ndarray
    picture_kinds: np.ndarray
    picture_subjects: np.ndarray


class Item(NamedTuple):
    """A picture: its image is uint8 [64, 64], or [4, 64, 64] (red, green, blue, alpha)."""

    kind: str
    subject: str
    image: np.ndarray


def load_or_make(folder: Path) -> Pool:
    """Return the pool in `folder`. If it is missing, about 25 MB of packages are fetched and rendered in a few minutes."""
    target = folder / f"pool-{POOL_VERSION}.npz"
    stored = cache.read(target)
    if stored is None:
        stored = _make(folder)._asdict()
        cache.write(target, stored)
    return Pool(**stored)


def _make(folder: Path) -> Pool:
    archives = [(source, sources.fetch(source, folder / "packages")) for source in SOURCES]
    with ProcessPoolExecutor() as workers:
        items = [item for chunk in workers.map(_items, archives) for item in chunk]
    items += [Item(*item) for item in pool_shapes.items()]
    items = _without_duplicates(items)
    flat = [item for item in items if item.image.ndim == 2]
    flat = _without_domain_drawings(flat)
    coloured = [item for item in items if item.image.ndim == 3]
    return Pool(
        np.stack([item.image for item in flat]),
        np.array([item.kind for item in flat]),
        np.array([item.subject for item in flat]),
        np.stack([item.image for item in coloured]),
        np.array([item.kind for item in coloured]),
        np.array([item.subject for item in coloured]),
    )


def _items(archive: tuple[Source, Path]) -> list[Item]:
    source, path = archive
    return list(_characters(source, path) if source.holds in ("font", "hand") else _drawings(source, path))


def _drawings(source: Source, path: Path) -> Iterator[Item]:
    import json

    import resvg_py

    collection = json.loads(sources.read(path, "package/icons.json")["icons.json"])
    is_wanted: Callable[[str], bool] = _STYLES.get(source.package, lambda name: True)
    for name, icon in collection["icons"].items():
        if icon.get("hidden") or not is_wanted(name) or names.is_skin_tone_variant(name):
            continue
        kind, subject = _kind_and_subject(source, name)
        if subject is None:
            continue
        width, height = (icon.get(side, collection.get(side, 16)) for side in ("width", "height"))
        drawing = svg.svg(icon["body"], icon.get("left", 0), icon.get("top", 0), width, height)
        try:
            rendered = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=96))))
        except ValueError:
            continue
        picture = rendered.convert("RGBA")
        box = picture.getchannel("A").getbbox()
        if box is None:
            continue
        picture = picture.crop(box)
        if source.holds == "emoji" or source.package in ("@iconify-json/logos", "@iconify-json/skill-icons"):
            channels = [centred(channel) for channel in picture.split()]
            yield Item(kind, subject, np.stack(channels))
        if source.holds != "emoji" and source.package != "@iconify-json/skill-icons":
            yield Item(kind, subject, centred(picture.getchannel("A")))


def _kind_and_subject(source: Source, name: str) -> tuple[str, str | None]:
    plain = names.plain(name)
    logo = source.holds == "logos" or names.is_logo(name)
    known = names.class_of(plain, ("logos",) if logo else ICON_DOMAINS)
    if known is not None:
        return known
    return ("logo" if logo else source.holds.rstrip("s")), names.words(plain)


def _characters(source: Source, path: Path) -> Iterator[Item]:
    family = source.package.split("/")[1]
    files = sources.read(path, "-normal.woff")
    for weight in (400, 700):
        data = files.get(f"{family}-latin-{weight}-normal.woff")
        if data is None:
            continue
        font = ImageFont.truetype(io.BytesIO(data), 96)
        for letter in LETTERS:
            if (mask := glyph_mask(font, letter.upper())) is not None:
                yield Item("letters", letter, mask)
        for digit, word in enumerate(DIGITS):
            if (mask := glyph_mask(font, str(digit))) is not None:
                yield Item("digits-hand" if source.holds == "hand" else "digits", word, mask)


def _without_duplicates(items: list[Item]) -> list[Item]:
    """Return the items, each (subject, image) once."""
    distinct: dict[tuple[str, bytes], Item] = {}
    for item in items:
        distinct.setdefault((item.subject, item.image.tobytes()), item)
    return list(distinct.values())


def _without_domain_drawings(items: list[Item]) -> list[Item]:
    """Leave out icons whose mask correlates above 0.97 with a drawing of the same subject in a domain."""
    from benchmarks.mini import icons

    shown = {}
    for domain in ICON_DOMAINS:
        for label in concepts.ICON_DOMAINS[domain]:
            families = icons.drawings(domain, label, MAIN_FAMILIES + HELDOUT_FAMILIES)
            shown[domain, label] = iconfonts.signatures(np.stack([mask for masks in families for mask in masks]))
    different = []
    for item in items:
        drawings = shown.get((item.kind, item.subject))
        if drawings is None or float((drawings @ iconfonts.signatures(item.image[None]).T).max()) < SAME_DRAWING:
            different.append(item)
    return different
