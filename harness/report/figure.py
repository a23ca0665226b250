"""A figure with the numbers behind it: as an image inside the page, and as SVG, PNG and CSV files."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure

from harness.records.files import spreadsheet_text
from harness.report.figure_style import GRID, INK, styled
from harness.report.markup import Markup, clean
from models.files import write_output

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
TINY = 1e-9
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Numbers(NamedTuple):
    """What a figure shows, as a table."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def written(self) -> bytes:
        """As CSV: six digits; a missing number is empty."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_text(value) for value in row] for row in self.rows)
        return buffer.getvalue().encode()


class Figure(NamedTuple):
    """A drawing, what stands below it, and `said`: what it shows in words, for a reader who does not see it."""

    slug: str
    title: str
    caption: str
    said: str
    numbers: Numbers
    draw: Callable[[], matplotlib.figure.Figure]


def inline(figure: Figure) -> Markup:
    """The figure as SVG inside HTML: it takes the page's font and its text and line colours, and has a title and a description.

    Identifiers begin with the figure's slug, since all figures of a page share one namespace.
    """
    with styled():
        root = ET.fromstring(_svg(figure, transparent=True))
    _plain(root, figure.slug)
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in ("metadata", "style")]:
            parent.remove(child)
    width = float(root.get("viewBox", "0 0 500 0").split()[2])
    root.attrib = {
        "class": "plot", "viewBox": root.get("viewBox", ""), "role": "img", "style": f"max-width: {width / 338 * 34:.1f}rem",
        "aria-labelledby": f"{figure.slug}-title {figure.slug}-desc",
    }  # fmt: skip
    for position, (name, text) in enumerate((("title", figure.title), ("desc", f"{figure.caption} {figure.said}".strip()))):
        element = ET.Element(name, {"id": f"{figure.slug}-{name}"})
        element.text = clean(text)
        root.insert(position, element)
    return Markup(re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode")))


def save(figure: Figure, folder: Path) -> list[Path]:
    """SLUG.svg, SLUG.png and SLUG.csv in a folder, on white. Raises OSError where that cannot be written."""
    with styled():
        svg, image = _svg(figure), io.BytesIO()
        figure.draw().savefig(image, format="png", facecolor="white", metadata={"Software": None})
    for suffix, data in (("svg", svg.encode()), ("png", image.getvalue()), ("csv", figure.numbers.written())):
        write_output(folder / f"{figure.slug}.{suffix}", data)
    return [folder / f"{figure.slug}.{kind}" for kind in ("svg", "png", "csv")]


def _svg(figure: Figure, **options: Any) -> str:
    """As matplotlib writes it. To be called inside `styled`."""
    buffer = io.StringIO()
    figure.draw().savefig(buffer, format="svg", metadata=NO_METADATA, **(options or {"facecolor": "white"}))
    return clean(buffer.getvalue())


def _plain(root: ET.Element, prefix: str) -> None:
    """Names without namespaces, identifiers of this figure's own, and colours that follow the page's."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        if LINK in element.attrib:
            element.set("href", element.attrib.pop(LINK).replace("#", f"#{prefix}-", 1))
        for name, value in list(element.attrib.items()):
            if name == "id":
                element.set(name, f"{prefix}-{value}")
            elif name == "clip-path":
                element.set(name, value.replace("#", f"#{prefix}-", 1))
            elif name == "style":
                value = re.sub(r"font-family:[^;]*;?\s*", "", value)
                element.set(name, value.replace(INK, "currentColor").replace(GRID, "var(--line)"))
            elif name == "d":
                element.set(name, " ".join(value.split()))


def not_drawn(count: int, what: str) -> str:
    """For a caption: how many further methods or tasks a figure has no room for; nothing where there is room for all."""
    return f" Not drawn, but in the CSV: {count} further {what}." if count else ""


def settled(value: float) -> float:
    """The number, or 0 where it is rounding: sums of equal numbers differ in the last digit, and that is no spread."""
    return 0.0 if abs(value) < TINY else value


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{settled(value):.6g}"
    if isinstance(value, str):
        return _plain_text(value)
    return "" if value is None else value


@cache
def _plain_text(value: str) -> str:
    return str(spreadsheet_text(" ".join(clean(value).splitlines())))
