"""A pen that draws figures on a picture of 48 x 48 pixels, smoothly and at any angle."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.mini import render
from benchmarks.mini.render import SIZE, Colour, Picture

FACTOR = 4
CENTRE = SIZE / 2

Point = tuple[float, float]


def ground(rng: np.random.Generator, first: Colour, spread: float = 25) -> Picture:
    """Return a picture that changes from a colour to one that differs by up to `spread` in each channel."""
    return render.gradient(rng, first, (first + rng.uniform(-spread, spread, 3)).clip(0, 255).astype(np.float32))


def shade(rng: np.random.Generator, light: bool) -> Colour:
    """Return a random light or dark colour."""
    return render.colour(rng, 165, 255) if light else render.colour(rng, 0, 90)


def towards(start: Point, angle: float, distance: float) -> Point:
    """Return the point at a distance from `start`. The angle is in radians, clockwise from the top."""
    return start[0] + distance * float(np.sin(angle)), start[1] - distance * float(np.cos(angle))


class Pen:
    """Draws on a copy of a picture at four times its size.

    Coordinates and widths are in pixels of the picture. All figures are turned around the middle of the picture.

    Args:
        picture: float32 [48, 48, 3], 0 to 255.
        turn: angle in radians, clockwise.
    """

    def __init__(self, picture: Picture, turn: float = 0.0):
        small = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        self._canvas = small.resize((SIZE * FACTOR, SIZE * FACTOR), Image.Resampling.BILINEAR)
        self._draw = ImageDraw.Draw(self._canvas)
        self._cos, self._sin, self._degrees = float(np.cos(turn)), float(np.sin(turn)), float(np.degrees(turn))

    def picture(self) -> Picture:
        """Return the picture, float32 [48, 48, 3]."""
        return np.asarray(self._canvas.reduce(FACTOR), dtype=np.float32)

    def polygon(self, points: Iterable[Point], ink: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._place(point) for point in points], fill=_rgb(ink))

    def box(self, left: float, top: float, right: float, bottom: float, ink: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], ink)

    def path(self, points: Iterable[Point], ink: Colour, width: float, closed: bool = False) -> None:
        """Draw connected lines with round corners."""
        places = [self._place(point) for point in points]
        if closed:
            places = [*places, *places[:2]]
        self._draw.line(places, fill=_rgb(ink), width=max(1, round(width * FACTOR)), joint="curve")

    def disc(self, x: float, y: float, radius: float, ink: Colour, height: float = 1.0) -> None:
        """Fill a circle, or an ellipse of `height` x radius. An ellipse is not turned."""
        (x, y), r = self._place((x, y)), radius * FACTOR
        self._draw.ellipse([x - r, y - height * r, x + r, y + height * r], fill=_rgb(ink))

    def circle(self, x: float, y: float, radius: float, ink: Colour, width: float) -> None:
        """Draw the outline of a circle."""
        self.arc(x, y, radius, 0, 360, ink, width)

    def arc(self, x: float, y: float, radius: float, start: float, end: float, ink: Colour, width: float) -> None:
        """Draw a part of a circle between two angles in degrees, clockwise from the top."""
        (x, y), r = self._place((x, y)), radius * FACTOR
        start, end = start - 90 + self._degrees, end - 90 + self._degrees
        self._draw.arc([x - r, y - r, x + r, y + r], start, end, fill=_rgb(ink), width=max(1, round(width * FACTOR)))

    def slice(self, x: float, y: float, radius: float, start: float, end: float, ink: Colour) -> None:
        """Fill a slice of a circle between two angles in degrees, clockwise from the top."""
        (x, y), r = self._place((x, y)), radius * FACTOR
        self._draw.pieslice([x - r, y - r, x + r, y + r], start - 90 + self._degrees, end - 90 + self._degrees, fill=_rgb(ink))

    def _place(self, point: Point) -> Point:
        x, y = point[0] - CENTRE, point[1] - CENTRE
        turned = (CENTRE + x * self._cos - y * self._sin, CENTRE + x * self._sin + y * self._cos)
        return turned[0] * FACTOR, turned[1] * FACTOR


def _rgb(ink: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in np.clip(ink, 0, 255))
    return red, green, blue
