"""Emoji of vendors that pretraining has not seen: by group of Unicode, and by name with one vendor per split."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tools.study_data import svg
from tools.study_data.archives import Files
from tools.study_data.division import Splits, apart, divided
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source

GROUPS = ("activities", "objects", "people-body", "smileys-emotion", "symbols", "travel-places")
"""Groups of Unicode. Animals, food and flags are left out, because other tasks show them."""


class Emoji(NamedTuple):
    """An emoji of OpenMoji: its name with hyphens, its group and its drawing."""

    name: str
    group: str
    drawing: str


def by_group(open_package: Open) -> Splits:
    """Return OpenMoji's emoji by group, divided at random. Ood: EmojiOne's drawings of the emoji in the test split."""
    emoji = [one for one in _openmoji(open_package) if one.group in GROUPS]
    sources = [
        source
        for one in emoji
        for source in svg.sources(one.drawing, f"openmoji {one.name}", GROUPS.index(one.group), one.name)
    ]
    splits = divided("emoji-groups", sources)
    icons = svg.collection(open_package("emojione", below("package", "icons.json")))
    ood = []
    for source in splits["test"]:
        ood += svg.sources(svg.icon(icons, source.group), f"emojione {source.group}", source.label, source.group)
    return {**splits, "ood": apart(ood, splits)}


def by_name(open_package: Open, classnames: tuple[str, ...]) -> Splits:
    """Return emoji by name. Train: OpenMoji and Noto Emoji 1; val: EmojiOne 1; test: EmojiOne 2."""
    names = [name.replace(" ", "-") for name in classnames]
    drawings = {one.name: one.drawing for one in _openmoji(open_package)}
    train = [source for label, name in enumerate(names) for source in svg.sources(drawings[name], f"openmoji {name}", label)]
    return {
        "train": [*train, *_iconify(open_package, "noto-v1", names)],
        "val": _iconify(open_package, "emojione-v1", names),
        "test": _iconify(open_package, "emojione", names),
    }


def _openmoji(open_package: Open) -> list[Emoji]:
    """Return the emoji of Unicode that OpenMoji draws, without skin tones, sorted by name."""
    files: Files = open_package("openmoji", lambda path: path.startswith(("package/color/svg/", "package/data/openmoji.json")))
    emoji = []
    for entry in json.loads(files["package/data/openmoji.json"]):
        drawing = files.get(f"package/color/svg/{entry['hexcode']}.svg")
        if drawing is not None and not entry["skintone"]:
            name = re.sub(r"[^a-z0-9]+", "-", entry["annotation"].lower()).strip("-")
            emoji.append(Emoji(name, entry["group"], drawing.decode()))
    return sorted(emoji)


def _iconify(open_package: Open, package: str, names: list[str]) -> list[Source]:
    icons = svg.collection(open_package(package, below("package", "icons.json")))
    return [
        source for label, name in enumerate(names) for source in svg.sources(svg.icon(icons, name), f"{package} {name}", label)
    ]
