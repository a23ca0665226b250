"""One row per task: where its source pictures come from, and how images are drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.broad.study_data_rows import STUDY_DATA
from tools.study_data import animals, characters, emoji, flags, games, icons, textiles
from tools.study_data.division import Splits
from tools.study_data.opening import Open
from tools.study_data.pictures import Look


class Recipe(NamedTuple):
    """The making of a task.

    Attributes:
        sources: returns the source pictures by split.
        packages: the packages it reads, by their short names.
        look: how images are drawn of the pictures.
        draws: the number of images of a source picture by split, 1 if absent.
    """

    sources: Callable[[Open], Splits]
    packages: tuple[str, ...]
    look: Look
    draws: dict[str, int]


_FLAG = Look(scale=(0.75, 1.0), turn=6.0, ground=(60.0, 255.0))
_INK = Look(scale=(0.7, 0.95), ink=True)

RECIPES: dict[str, Recipe] = {
    "silhouettes": Recipe(animals.silhouettes, ("animal-mnist",), Look(scale=(0.9, 1.0), turn=0.0, shift=0.03), {}),
    "textiles": Recipe(textiles.textiles, ("textiles",), Look(plain=True), {}),
    "flags-europe": Recipe(
        flags.european,
        ("flag-icons", "flagpack", "emojione", "openmoji", "iso-flags", "circle-flags"),
        _FLAG,
        {"train": 12, "val": 3, "test": 6, "ood": 3},
    ),
    "flags-continent": Recipe(
        flags.by_continent, ("coreui-flags", "flag-icons"), _FLAG, {"train": 5, "val": 5, "test": 6, "ood": 6}
    ),
    "emoji-groups": Recipe(emoji.by_group, ("openmoji", "emojione"), Look(), {"train": 3}),
    "emoji-animals": Recipe(
        partial(emoji.by_name, classnames=STUDY_DATA["emoji-animals"].classnames),
        ("openmoji", "noto-v1", "emojione-v1", "emojione"),
        Look(),
        {"train": 6, "val": 3, "test": 6},
    ),
    "emoji-food": Recipe(
        partial(emoji.by_name, classnames=STUDY_DATA["emoji-food"].classnames),
        ("openmoji", "noto-v1", "emojione-v1", "emojione"),
        Look(),
        {"train": 10, "val": 3, "test": 6},
    ),
    "chess": Recipe(
        games.chess, ("pychess",), Look(scale=(0.75, 1.0), ground=(110.0, 230.0)), {"train": 5, "val": 4, "test": 5, "ood": 3}
    ),
    "cards": Recipe(
        games.cards, ("cards",), Look(scale=(0.9, 1.05), turn=5.0, ground=(20.0, 140.0)), {"train": 3, "test": 2, "ood": 3}
    ),
    "scripts": Recipe(characters.scripts, ("noto-fonts",), _INK, {}),
    "strokes": Recipe(characters.strokes, ("hanzi",), Look(scale=(0.85, 1.0), turn=3.0, ink=True), {}),
    "clip-art": Recipe(icons.clip_art, ("openclipart",), Look(), {"train": 2}),
    "desktop-icons": Recipe(icons.desktop, ("gnome-icons", "tango-icons", "oxygen-icons", "elementary-icons"), Look(), {}),
    "health-icons": Recipe(icons.health, ("healthicons",), _INK, {"train": 2}),
}
