"""Words of icon names: separate the subject of a name from the parts for the style."""

from __future__ import annotations

import re

from benchmarks.mini import concepts

_ENDINGS = re.compile(
    r"-(outline|outlined|filled|fill|line|linear|bold|duotone|twotone|solid|regular|light|thin|round|rounded|sharp|alt"
    r"|logo|icon|original|plain|dark|24px|24|20|16|11|15|\d{1,2})$"
)
_BEGINNINGS = re.compile(r"^(bxs|bxl|bx|brand|logo|ios|md)-")
_LOGO_BEGINNINGS = re.compile(r"^(bxl|brand|logo)-")
_LOGO_ENDING = re.compile(r"-logo$")
# Endings of emoji names for people in five skin tones, whose subject is the same.
_SKIN = re.compile(r"(light|medium|dark)-skin-tone|-(light|medium|dark)$|-medium-(light|dark)$")
MAX_WORDS = 3


def plain(name: str) -> str:
    """Return the hyphenated subject of an icon: 'bell-ring' for 'bxs-bell-ring', 'flash' for 'flash-24-filled'."""
    name = _BEGINNINGS.sub("", name)
    while (shorter := _ENDINGS.sub("", name)) != name:
        name = shorter
    return name


def is_logo(name: str) -> bool:
    """Return whether an icon's name says that it is a logo."""
    return bool(_LOGO_BEGINNINGS.match(name) or _LOGO_ENDING.search(name))


def is_skin_tone_variant(name: str) -> bool:
    """Return whether an emoji is one of several skin tones of the same subject."""
    return bool(_SKIN.search(name))


def words(name: str) -> str | None:
    """Return a plain name as words, or None if it is not a usable name: too long, one letter, or mostly digits."""
    parts = name.split("-")
    if len(parts) > MAX_WORDS or len(name) < 2 or not all(re.fullmatch(r"[a-z]{2,14}|[a-z]|\d", p) for p in parts):
        return None
    if all(len(part) == 1 for part in parts):
        return None
    return " ".join(parts)


def class_of(name: str, domains: tuple[str, ...]) -> tuple[str, str] | None:
    """Return (domain, class name) of the first of the icon domains that has the plain name among a class's names."""
    for domain in domains:
        classname = _INDEX[domain].get(name)
        if classname is not None:
            return domain, classname
    return None


_INDEX = {
    domain: {name: label for label in table for name in concepts.icon_names(table, label)}
    for domain, table in concepts.ICON_DOMAINS.items()
}
