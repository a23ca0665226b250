"""Draw SVG pictures with resvg-py, and read the icon collections of Iconify."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from models.registry import UserError
from tools.study_data.archives import Files
from tools.study_data.pictures import Source, squared

WIDTH = 128
"""Width in pixels at which pictures are drawn."""
DPI = 96.0
"""Resolution for sizes in millimetres and points. Without it resvg-py refuses such pictures."""


def picture(source: str, width: int = WIDTH) -> Image.Image | None:
    """Return an SVG picture in mode RGBA, or None if it cannot be drawn.

    Text is left out, because it would depend on the fonts of the machine.

    Raises:
        UserError: if resvg-py is not installed.
    """
    try:
        import resvg_py
    except ModuleNotFoundError as error:
        raise UserError('Drawing SVG needs the package resvg-py. `pip install -e ".[study-data]"` installs it.') from error
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=source, width=width, dpi=DPI, skip_system_fonts=True))
    except ValueError:
        return None
    return Image.open(io.BytesIO(png)).convert("RGBA")


def sources(drawing: str | None, key: str, label: int, group: str = "") -> list[Source]:
    """Return an SVG picture as a list of one source picture, or an empty list if it cannot be drawn or shows nothing."""
    drawn = picture(drawing) if drawing else None
    square = squared(drawn) if drawn else None
    return [] if square is None else [Source(key, group or key, label, square)]


def collection(package: Files) -> dict[str, Any]:
    """Return the icon collection in the files of an Iconify package."""
    icons: dict[str, Any] = json.loads(package["package/icons.json"])
    return icons


def icon(icons: dict[str, Any], name: str) -> str | None:
    """Return an icon of a collection as SVG, or None if the collection does not have it. Aliases are followed."""
    for _ in range(8):
        entry = icons["icons"].get(name)
        if entry is not None:
            width, height = (entry.get(side, icons.get(side, 16)) for side in ("width", "height"))
            return svg(entry["body"], entry.get("left", 0), entry.get("top", 0), width, height)
        alias = icons.get("aliases", {}).get(name)
        if alias is None:
            return None
        name = alias["parent"]
    return None


def svg(body: str, left: float, top: float, width: float, height: float) -> str:
    """Return an SVG document with a body and a view box."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" color="black" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg>'
    )
