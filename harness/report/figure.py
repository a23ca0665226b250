"""A figure with its data, as an image in the page and as SVG, PNG and CSV files."""

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
from markupsafe import Markup

from harness.records.files import spreadsheet_text
from harness.report.figure_style import GRID, INK, styled
from harness.report.tables import clean
from models.files import write_output

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
TINY = 1e-9
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Numbers(NamedTuple):
    """The data of a figure, as a table."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def written(self) -> bytes:
        """Return the table as CSV with six digits. A missing number is empty."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_text(value) for value in row] for row in self.rows)
        return buffer.getvalue().encode()


class Figure(NamedTuple):
    """A drawing with its caption and data. `description` gives the values in words, for screen readers."""

    slug: str
    title: str
    caption: str
    description: str
    numbers: Numbers
    draw: Callable[[], matplotlib.figure.Figure]


def inline(figure: Figure) -> Markup:
    """Return the figure as SVG inside HTML, with the font and the colours of the page, a title and a description.

    Identifiers start with the figure's slug, because all figures of a page share one namespace.
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
    for position, (name, text) in enumerate(
        (("title", figure.title), ("desc", f"{figure.caption} {figure.description}".strip()))
    ):
        element = ET.Element(name, {"id": f"{figure.slug}-{name}"})
        element.text = clean(text)
        root.insert(position, element)
    return Markup(re.sub(r">\s+<", "><", ET.tostring(root, encoding="unicode")))


def save(figure: Figure, folder: Path) -> list[Path]:
    """Write SLUG.svg, SLUG.png and SLUG.csv to a folder, on a white background, and return their paths.

    Raises:
        OSError: if a file cannot be written.
    """
    with styled():
        svg, image = _svg(figure), io.BytesIO()
        figure.draw().savefig(image, format="png", facecolor="white", metadata={"Software": None})
    for suffix, data in (("svg", svg.encode()), ("png", image.getvalue()), ("csv", figure.numbers.written())):
        write_output(folder / f"{figure.slug}.{suffix}", data)
    return [folder / f"{figure.slug}.{kind}" for kind in ("svg", "png", "csv")]


def _svg(figure: Figure, **options: Any) -> str:
    """Return the SVG as matplotlib writes it. Call it inside `styled`."""
    buffer = io.StringIO()
    figure.draw().savefig(buffer, format="svg", metadata=NO_METADATA, **(options or {"facecolor": "white"}))
    return clean(buffer.getvalue())


def _plain(root: ET.Element, prefix: str) -> None:
    """Remove namespaces, prefix identifiers, and replace the colours by those of the page."""
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
    """Return a sentence for a caption on methods or tasks that are not drawn, or nothing if all are drawn."""
    return f" {count} further {what} are only in the CSV file." if count else ""


def settled(value: float) -> float:
    """Return the number, or 0 for a rounding error: sums of equal numbers can differ in the last digit."""
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
