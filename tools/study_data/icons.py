"""Clip art, desktop icons and health icons by category. A picture with two categories is left out."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath

from PIL import Image

from tools.study_data import svg
from tools.study_data.division import Splits, apart, divided
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source, squared

# Class: the folder of Open Clip Art whose pictures, at any depth, show it.
CLIP_ART: dict[str, str] = {
    "fruit": "food/fruit",
    "drink": "food/beverages",
    "dessert": "food/desserts",
    "meat or egg dish": "food/meats_and_eggs",
    "bread": "food/breads_and_carbs",
    "mammal": "animals/mammals",
    "bird": "animals/birds",
    "bug": "animals/bugs",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "vehicle": "transportation/vehicles",
    "boat": "transportation/boating",
    "road sign": "transportation/roadsigns",
    "house": "buildings/homes",
    "musical instrument": "recreation/music",
    "sport": "recreation/sports",
    "toy": "recreation/toys",
    "party": "recreation/party",
    "weapon": "tools/weapons",
    "piece of clothing": "people/clothing",
    "smiley": "people/smilies",
    "body part": "people/bodypart",
    "stick figure": "people/stickmen",
    "weather symbol": "signs_and_symbols/weather",
    "clock": "signs_and_symbols/clocks",
    "map symbol": "signs_and_symbols/map_symbols",
    "semaphore flag": "signs_and_symbols/flags/semaphore",
    "arrow": "shapes/arrows",
    "jigsaw piece": "shapes/jigsaw",
    "piece of computer hardware": "computer/hardware",
}
_CLIP_ART_FOLDER = "usr/share/openclipart/svg"

# Contexts of the icon naming specification of freedesktop.org, as the themes call their folders.
CONTEXTS = ("actions", "apps", "categories", "devices", "emotes", "mimetypes", "places", "status")
_THEMES = {
    "gnome-icons": "usr/share/icons/gnome/48x48/{}",
    "tango-icons": "usr/share/icons/Tango/scalable/{}",
    "oxygen-icons": "usr/share/icons/oxygen/base/48x48/{}",
}
_OOD_THEME = {"elementary-icons": "usr/share/icons/elementary-xfce/{}/48"}

HEALTH = {
    "blood": "Blood",
    "body part": "Body",
    "medical condition": "Conditions",
    "contraceptive": "Contraceptives",
    "medical device": "Devices",
    "diagnostic test": "Diagnostics",
    "emotion": "Emotions",
    "chart": "Graphs",
    "medication": "Medications",
    "food": "Nutrition",
    "object": "Objects",
    "person": "People",
    "place": "Places",
    "protective equipment": "Ppe",
    "medical specialty": "Specialties",
    "symbol": "Symbols",
    "vehicle": "Vehicles",
    "animal disease": "Zoonoses",
}
"""Class: the category of the collection."""


def clip_art(open_package: Open) -> Splits:
    """Return the pictures of Open Clip Art by category, divided at random."""
    files = open_package("openclipart", below(_CLIP_ART_FOLDER, ".svg"))
    sources = []
    for label, category in enumerate(CLIP_ART.values()):
        for path in filter(below(f"{_CLIP_ART_FOLDER}/{category}", ".svg"), files):
            sources += svg.sources(files[path].decode("utf-8", "replace"), path, label)
    return divided("clip-art", sources)


def desktop(open_package: Open) -> Splits:
    """Return desktop icons by context, divided by name: one name is in one split in all themes. Ood: the elementary theme."""
    sources = _theme_icons(open_package, _THEMES)
    splits = divided("desktop-icons", sources)
    tested = {(source.label, source.group) for source in splits["test"]}
    known = {source.group for source in sources}
    others = _theme_icons(open_package, _OOD_THEME)
    ood = [source for source in others if (source.label, source.group) in tested or source.group not in known]
    return {**splits, "ood": apart(ood, splits)}


def _theme_icons(open_package: Open, themes: dict[str, str]) -> list[Source]:
    sources = []
    for theme, folder in themes.items():
        icons = open_package(theme, below("usr/share/icons", ".png", ".svg"))
        for label, context in enumerate(CONTEXTS):
            if theme in _OOD_THEME and context == "mimetypes":
                context = "mimes"
            for path in filter(below(folder.format(context), ".png", ".svg"), icons):
                name = PurePosixPath(path).stem
                if path.endswith(".svg"):
                    sources += svg.sources(icons[path].decode(), f"{theme} {path}", label, name)
                    continue
                picture = squared(Image.open(io.BytesIO(icons[path])))
                if picture is not None:
                    sources.append(Source(f"{theme} {path}", name, label, picture))
    return sources


def health(open_package: Open) -> Splits:
    """Return health icons by category, divided by icon: the filled and the outlined form are in one split."""
    files = open_package("healthicons", below("package", ".json"))
    icons = svg.collection(files)
    categories = json.loads(files["package/metadata.json"])["categories"]
    sources = []
    for label, category in enumerate(HEALTH.values()):
        for name in categories[category]:
            if not name.endswith(("-24px", "-negative")):
                sources += svg.sources(svg.icon(icons, name), name, label, name.removesuffix("-outline"))
    return divided("health-icons", sources)
