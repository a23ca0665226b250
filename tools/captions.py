"""Pretraining captions: the kind of a picture and its subject, in varied words."""

from __future__ import annotations

import numpy as np

_PICTURE = (
    "an icon of a {}.",
    "a picture of a {}.",
    "a symbol of a {}.",
    "a {}.",
    "{}.",
    "a simple drawing of a {}.",
    "a pictogram showing a {}.",
    "a drawing of the {}.",
    "an image of a {}.",
    "a photo of a {}.",
)
_BY_KIND: dict[str, tuple[str, ...]] = {
    "nature": ("a weather pictogram of a {}.", "a nature drawing of a {}.", "a weather or nature pictogram of a {}."),
    "transport": ("a sign showing a {}.", "a road sign with a {}.", "a road sign showing a {}."),
    "objects": ("a drawing of a {} in chalk.", "a sketch of a {}."),
    "buttons": ("a symbol for {}.", "a button for {}."),
    "icon": ("a sign showing a {}.", "a symbol for {}.", "a sketch of a {}."),
    "emoji": ("an emoji of a {}.", "a colourful picture of a {}."),
}
_ONLY: dict[str, tuple[str, ...]] = {
    "logos": ("the logo of {}.", "the {} logo.", "an app icon of {}.", "an app icon with the {} logo."),
    "letters": (
        "the letter {}.",
        "a picture of the letter {}.",
        "a drawing of the letter {}.",
        "a cluttered picture of the letter {}.",
    ),
    "digits": (
        "the number {}.",
        "a picture of the number {}.",
        "a photo of the number {}.",
        "a picture of the digit {}.",
        "the digit {}.",
    ),
    "shapes": ("a {}.", "a picture of a {}.", "a drawing of a {}.", "a clean picture of a {}.", "a noisy picture of a {}."),
    "counting": ("{}.", "a picture of {}.", "a picture with {}.", "an image of {}.", "there are {}."),
}
_ONLY["logo"] = _ONLY["logos"]
_ONLY["digits-hand"] = _ONLY["digits"]


def templates(kind: str) -> tuple[str, ...]:
    """Return the templates of a kind of picture. Those of the kind count twice next to the general ones."""
    return _ONLY.get(kind) or _PICTURE + 2 * _BY_KIND.get(kind, ())


def caption(kind: str, subject: str, rng: np.random.Generator) -> str:
    """Return a random caption."""
    choices = templates(kind)
    return choices[rng.integers(len(choices))].format(subject)
