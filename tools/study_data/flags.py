"""Flags by country, each vendor in one split, and flags by continent, each country in one split."""

from __future__ import annotations

import io
import json

from PIL import Image

from tools.study_data import svg
from tools.study_data.division import Splits, apart, divided
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source, squared

EUROPE = {
    "ax": "aland-islands",
    "al": "albania",
    "ad": "andorra",
    "at": "austria",
    "by": "belarus",
    "be": "belgium",
    "ba": "bosnia-and-herzegovina",
    "bg": "bulgaria",
    "hr": "croatia",
    "cy": "cyprus",
    "cz": "czechia",
    "dk": "denmark",
    "ee": "estonia",
    "fo": "faroe-islands",
    "fi": "finland",
    "fr": "france",
    "de": "germany",
    "gi": "gibraltar",
    "gr": "greece",
    "gg": "guernsey",
    "va": "vatican-city",
    "hu": "hungary",
    "is": "iceland",
    "ie": "ireland",
    "im": "isle-of-man",
    "it": "italy",
    "je": "jersey",
    "lv": "latvia",
    "li": "liechtenstein",
    "lt": "lithuania",
    "lu": "luxembourg",
    "mt": "malta",
    "md": "moldova",
    "mc": "monaco",
    "me": "montenegro",
    "nl": "netherlands",
    "mk": "macedonia",
    "no": "norway",
    "pl": "poland",
    "pt": "portugal",
    "ro": "romania",
    "ru": "russia",
    "sm": "san-marino",
    "rs": "serbia",
    "sk": "slovakia",
    "si": "slovenia",
    "es": "spain",
    "se": "sweden",
    "ch": "switzerland",
    "ua": "ukraine",
    "gb": "united-kingdom",
}
"""ISO codes of European countries and territories whose flag no other one has, with EmojiOne's names."""
CONTINENTS = ("Africa", "Asia", "Europe", "North America", "Oceania", "South America")


def european(open_package: Open) -> Splits:
    """Return the flags of Europe. Train: flag-icons and Flagpack; val: OpenMoji; test: Linux Mint; ood: round flags."""
    return {
        "train": [*_flag_icons(open_package), *_iconify(open_package, "flagpack")],
        "val": _openmoji(open_package),
        "test": _linux_mint(open_package),
        "ood": [*_iconify(open_package, "circle-flags"), *_iconify(open_package, "emojione")],
    }


def by_continent(open_package: Open) -> Splits:
    """Return CoreUI's flags by continent, divided by country. Ood: the square flags of flag-icons of the test countries."""
    square = open_package("flag-icons", below("package/flags/1x1", ".svg"))
    countries = json.loads(open_package("flag-icons", below("package", "country.json"))["package/country.json"])
    continent = {country["code"]: country.get("continent") for country in countries}
    icons = svg.collection(open_package("coreui-flags", below("package", "icons.json")))
    sources = []
    for code in sorted(icons["icons"]):
        if continent[code] in CONTINENTS:
            sources += svg.sources(svg.icon(icons, code), f"coreui {code}", CONTINENTS.index(continent[code]), code)
    splits = divided("flags-continent", sources)
    ood = []
    for source in splits["test"]:
        drawing = square[f"package/flags/1x1/{source.group}.svg"].decode()
        ood += svg.sources(drawing, f"flag-icons {source.group}", source.label, source.group)
    return {**splits, "ood": apart(ood, splits)}


def _flag_icons(open_package: Open) -> list[Source]:
    files = open_package("flag-icons", below("package/flags/4x3", ".svg"))
    return [
        source
        for label, code in enumerate(EUROPE)
        for source in svg.sources(files[f"package/flags/4x3/{code}.svg"].decode(), f"flag-icons {code}", label)
    ]


def _iconify(open_package: Open, package: str) -> list[Source]:
    icons = svg.collection(open_package(package, below("package", "icons.json")))
    names = [f"flag-for-{country}" if package == "emojione" else code for code, country in EUROPE.items()]
    return [
        source for label, name in enumerate(names) for source in svg.sources(svg.icon(icons, name), f"{package} {name}", label)
    ]


def _openmoji(open_package: Open) -> list[Source]:
    files = open_package("openmoji", below("package/color/svg", ".svg"))
    sources = []
    for label, code in enumerate(EUROPE):
        # A flag is two regional indicators, from U+1F1E6 for A.
        points = "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in code)
        sources += svg.sources(files[f"package/color/svg/{points}.svg"].decode(), f"openmoji {code}", label)
    return sources


def _linux_mint(open_package: Open) -> list[Source]:
    folder = "usr/share/iso-flags-png-320x240"
    files = open_package("iso-flags", below(folder, ".png"))
    sources = []
    for label, code in enumerate(EUROPE):
        picture = squared(Image.open(io.BytesIO(files[f"{folder}/{code}.png"])))
        if picture is not None:
            sources.append(Source(f"iso-flags {code}", f"iso-flags {code}", label, picture))
    return sources
