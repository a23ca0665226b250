"""Reference data of distillation in the mini edition: 1,500 drawn images and 1,500 sentences, unrelated to its domains.

The images are icons of the Material Design Icons font in the installed package `qtawesome` (Apache-2.0, a family that no
domain uses) and symbols of the DejaVu Sans font in `matplotlib` (Bitstream Vera licence; no letters, no digits).
An icon is left out if a word of its name is a word of a class name or icon name of a stream or held-out domain, or
if it is nearly the same drawing as one in a domain. The sentences are the names of the remaining icons, and combinations
of words listed here (written for this project).

`pairs` are another drawing of each icon and symbol, with a sentence that names it.

Images and sentences are seeded, drawn on first use (seconds) and cached.
"""

from __future__ import annotations

import unicodedata
from functools import cache as memoised
from typing import TYPE_CHECKING

from benchmarks.data.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    import torch

IMAGES = 1500
SENTENCES = 1500
_SYMBOLS = 200
_NAMED_SENTENCES = 1000
SAME_DRAWING = 0.95
# Words in the names of icons that show a letter, a digit or a shape of a stream domain without its class name.
_OTHER_WORDS = (
    "alpha numeric number letter letters counter roman abjad abc case format text zodiac syllabary shape rectangle"
    " hexagon pentagon octagon ellipse oval triangle rhombus decagram language nut dots dot plus minus times equal"
    " box circles squares multiple alphabet digit circled multiplication latin"
)
_SYMBOL_RANGES = ((0x2200, 0x22FF), (0x2600, 0x26FF), (0x2701, 0x27BE), (0x2300, 0x23CF))

_NAME_TEMPLATES = ("a picture of a {}.", "an icon of a {}.", "a {}.", "a symbol for {}.", "a photo of a {}.")
_ADJECTIVES = (
    "small large old new bright dark soft heavy simple broken empty round wooden clean quiet long narrow warm cold"
    " red green blue yellow purple orange white black grey pale"
)
_NOUNS = (
    "chair table window door bottle basket bucket candle curtain carpet mirror spoon fork knife plate bowl kettle"
    " sponge towel soap bath sofa shelf ladder rope chain nail drill saw axe barrel crate fence gate garden field"
    " river lake beach island forest valley desert hill cave bridge tower castle farm windmill statue fountain"
    " shoe sock shirt coat hat glove scarf belt button ring necklace bread cheese egg carrot potato onion tomato"
    " lemon grape cherry pear mushroom corn pepper guitar piano violin drum trumpet doll kite balloon swing"
)
_PLACES = (
    "on a table",
    "in a room",
    "near a wall",
    "in the street",
    "under a roof",
    "beside the road",
    "in a box",
    "on the floor",
    "in the snow",
    "at night",
    "in the morning",
    "behind a door",
)
_SENTENCE_TEMPLATES = (
    "a {adjective} {noun}.",
    "a picture of a {adjective} {noun}.",
    "a {noun} {place}.",
    "a {adjective} {noun} {place}.",
)


def images(progress: Progress | None = None) -> torch.Tensor:
    """Return uint8 [1500, 3, 48, 48] in a seeded random order. `progress(done, total, what)` is called while drawing."""
    import torch

    from benchmarks.mini import cache

    stored = cache.load_or_make("reference", lambda: {"images": _draw(progress)})
    return torch.from_numpy(stored["images"])


def pairs(progress: Progress | None = None) -> tuple[torch.Tensor, list[str]]:
    """Return uint8 [1500, 3, 48, 48] and a sentence for each image: other drawings of the same icons and symbols, by name."""
    import torch

    from benchmarks.mini import cache

    stored = cache.load_or_make("reference-pairs", lambda: _draw_pairs(progress))
    return torch.from_numpy(stored["images"]), [str(sentence) for sentence in stored["sentences"]]


def sentences() -> list[str]:
    """Return 1,500 different English sentences and phrases in a seeded random order."""
    from benchmarks.mini.render import generator

    rng = generator("reference", "sentences")
    texts: list[str] = []
    for name in icon_subjects():
        if len(texts) == _NAMED_SENTENCES:
            break
        texts.append(_NAME_TEMPLATES[rng.integers(len(_NAME_TEMPLATES))].format(name))
    texts = list(dict.fromkeys(texts))
    nouns = [noun for noun in _NOUNS.split() if noun not in domain_words()]
    adjectives = _ADJECTIVES.split()
    known = set(texts)
    while len(texts) < SENTENCES:
        text = _SENTENCE_TEMPLATES[rng.integers(len(_SENTENCE_TEMPLATES))].format(
            adjective=adjectives[rng.integers(len(adjectives))],
            noun=nouns[rng.integers(len(nouns))],
            place=_PLACES[rng.integers(len(_PLACES))],
        )
        if text not in known:
            known.add(text)
            texts.append(text)
    return [texts[i] for i in rng.permutation(len(texts))]


@memoised
def domain_words() -> frozenset[str]:
    """Return all words of the class names and icon names of the mini edition's domains, stream and held-out."""
    from benchmarks.mini import concepts
    from benchmarks.mini import domain_table as table

    names = [name for entry in table.ENTRIES.values() for name in entry.classnames if len(name) > 1]
    words = {word for name in (*names, *concepts.all_icon_names()) for word in name.replace("-", " ").split()}
    # Numbers, colours and 'thing(s)' are class names only in combination with another word.
    return frozenset(words - {"thing", "things", *table.COLOURS} - set(table.DIGITS))


@memoised
def _taken_words() -> frozenset[str]:
    return domain_words() | frozenset(_OTHER_WORDS.split())


def icon_subjects() -> list[str]:
    """Return the names of the reference icons as words, in a seeded random order, one per icon whatever its styles."""
    from benchmarks.mini import iconfonts
    from benchmarks.mini.render import generator

    allowed = [name for name in sorted(iconfonts.glyphs_by_name(iconfonts.REFERENCE_FAMILY)) if _is_unrelated(name)]
    order = generator("reference", "icons").permutation(len(allowed))
    return [allowed[i].replace("-", " ") for i in order]


def _is_unrelated(name: str) -> bool:
    """Return whether an icon's name has no word of a domain, no number, and at most three words."""
    parts = set(name.split("-"))
    singular = {part.removesuffix("s") for part in parts}
    return len(parts) <= 3 and not (parts | singular) & _taken_words() and not any(p.isdigit() for p in parts)


def symbols() -> list[tuple[str, str]]:
    """Return (character, name in words) of the symbols whose name has no word of a domain."""
    named = [
        (chr(code), unicodedata.name(chr(code), "").lower()) for low, high in _SYMBOL_RANGES for code in range(low, high + 1)
    ]
    taken = _taken_words()
    return [(character, name) for character, name in named if name and not set(name.replace("-", " ").split()) & taken]


def _draw_pairs(progress: Progress | None) -> dict[str, np.ndarray]:
    import numpy as np

    from benchmarks.mini.render import generator

    report = progress or (lambda done, total, what: None)
    report(0, IMAGES, "drawing the reference pairs")
    rng = generator("reference", "pairs")
    named = _named_masks()
    masks = [mask for _, mask in named]
    pictures = np.stack([_picture(masks, i, rng) for i in range(len(masks))])
    texts = [_NAME_TEMPLATES[rng.integers(len(_NAME_TEMPLATES))].format(name.replace("-", " ")) for name, _ in named]
    order = rng.permutation(len(masks))
    report(IMAGES, IMAGES, "drew the reference pairs")
    return {"images": pictures[order], "sentences": np.array([texts[i] for i in order])}


def _draw(progress: Progress | None) -> np.ndarray:
    import numpy as np

    from benchmarks.mini.render import generator

    report = progress or (lambda done, total, what: None)
    report(0, IMAGES, "drawing the reference images")
    rng = generator("reference", "images")
    masks = _masks()
    pictures: list[np.ndarray] = []
    seen: set[bytes] = set()
    while len(pictures) < IMAGES:
        picture = _picture(masks, len(pictures) % len(masks), rng)
        if picture.tobytes() not in seen:
            seen.add(picture.tobytes())
            pictures.append(picture)
    report(IMAGES, IMAGES, "drew the reference images")
    return np.stack([pictures[i] for i in rng.permutation(IMAGES)])


def _picture(masks: list[np.ndarray], index: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a mask on a plain or shaded ground; 1 in 6 in soft white strokes on black, 1 in 6 as several small copies."""
    import numpy as np

    from benchmarks.mini import render

    look = rng.random()
    if look < 1 / 6:
        picture = render.paint(
            render.flat(np.zeros(3)), np.full(3, 255.0), render.place(masks[index], rng, (0.5, 0.85), 10, 0.05)
        )
        return render.finish(picture)
    ground, ink = render.contrasting(rng, 80)
    picture = render.gradient(rng, ground, (ground + rng.uniform(-50, 50, 3)).clip(0, 255))
    if look < 1 / 3:
        for spot in rng.permutation(9)[: rng.integers(1, 7)]:
            alpha = render.place(masks[index], rng, (0.2, 0.28), 15, 0.02)
            picture = render.paint(picture, ink, np.roll(alpha, (16 * (spot // 3 - 1), 16 * (spot % 3 - 1)), (0, 1)))
    else:
        picture = render.paint(picture, ink, render.place(masks[index], rng, (0.5, 0.95), 15, 0.1))
    return render.finish(render.grain(picture, rng, rng.uniform(0, 10)))


def _masks() -> list[np.ndarray]:
    """Return the masks, uint8 [64, 64] each: icons first, then symbols."""
    return [mask for _, mask in _named_masks()]


def _named_masks() -> list[tuple[str, np.ndarray]]:
    """Return the name and the mask, uint8 [64, 64], of each drawing: icons first, then symbols."""
    from pathlib import Path

    import matplotlib
    import numpy as np
    from PIL import ImageFont

    from benchmarks.mini import concepts, iconfonts, icons
    from benchmarks.mini.render import generator

    shown = [
        mask
        for domain, classes in concepts.ICON_DOMAINS.items()
        for label in classes
        for masks in icons.drawings(domain, label, iconfonts.MAIN_FAMILIES + iconfonts.HELDOUT_FAMILIES)
        for mask in masks
    ]
    index = iconfonts.glyphs_by_name(iconfonts.REFERENCE_FAMILY)
    codes = [(subject, index[subject.replace(" ", "-")][0]) for subject in icon_subjects()]
    drawn = [(s, mask) for s, code in codes if (mask := iconfonts.drawing(iconfonts.REFERENCE_FAMILY, code)) is not None]
    likeness = iconfonts.signatures(np.stack([mask for _, mask in drawn])) @ iconfonts.signatures(np.stack(shown)).T
    distinct: dict[bytes, tuple[str, np.ndarray]] = {}
    for (subject, mask), nearest in zip(drawn, likeness.max(axis=1), strict=True):
        if nearest <= SAME_DRAWING:
            distinct.setdefault(mask.tobytes(), (subject, mask))
        if len(distinct) == IMAGES - _SYMBOLS:
            break
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 96)
    named_symbols = symbols()
    order = generator("reference", "symbols").permutation(len(named_symbols))
    for position in order:
        if len(distinct) == IMAGES:
            break
        mask = iconfonts.glyph_mask(font, named_symbols[position][0])
        if mask is not None:
            distinct.setdefault(mask.tobytes(), (named_symbols[position][1], mask))
    return list(distinct.values())
