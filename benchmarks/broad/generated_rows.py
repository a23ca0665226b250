"""The tasks of the suite `broad` that this project draws."""

from __future__ import annotations

from benchmarks.broad.task import Task
from benchmarks.mini.domain_table import DIGITS

_LICENCE = "drawn by this project"
_ICONS = "MIT, Apache-2.0, CC-BY-4.0, OFL-1.1 (icons); otherwise drawn by this project"
_FONTS = "Bitstream Vera (DejaVu), STIX Font License, BaKoMa (Computer Modern); otherwise drawn by this project"
_NUMBERS = (*DIGITS, "ten", "eleven", "twelve")

GENERATED: dict[str, Task] = {
    "arrows": Task(
        ("up", "up and right", "right", "down and right", "down", "down and left", "left", "up and left"),
        ("an arrow pointing {}.", "an arrow that points {}.", "{}."),
        (1600, 240, 400),
        400,
        _LICENCE,
        "rendered: an arrow in one of eight directions; out of distribution: chevrons and pointers without a shaft",
        "places:arrow",
    ),
    "charts": Task(
        (
            *("bar chart", "line chart", "pie chart", "scatter plot", "area chart", "horizontal bar chart"),
            *("stacked bar chart", "doughnut chart", "bubble chart", "box plot", "heat map", "radar chart"),
        ),
        ("a picture of a {}.", "a {}."),
        (2000, 300, 480),
        360,
        _LICENCE,
        "rendered: charts of random numbers, common kinds more often; out of distribution: on dark grounds",
        "charts:chart",
        0.7,
    ),
    "clocks": Task(
        tuple(f"{number} o'clock" for number in _NUMBERS[1:]),
        ("a clock showing {}.", "a picture of a clock at {}."),
        (1200, 180, 360),
        360,
        _LICENCE,
        "rendered: clocks with two hands at a full hour; out of distribution: square dark faces with pointed hands",
        "numbers:clock",
    ),
    "colours": Task(
        ("blue", "green", "red", "black", "white", "grey", "yellow", "orange", "brown", "purple", "pink"),
        ("a picture of a {} thing.", "something {}."),
        (2400, 360, 440),
        330,
        _ICONS,
        "rendered: an icon of one colour, common colours more often; out of distribution: soft blots",
        "surfaces:coloured",
        0.8,
    ),
    "displays": Task(
        tuple(f"{number:02d}" for number in range(60)),
        ("a digital display showing the number {}.", "the number {}."),
        (10_000, 600, 900),
        300,
        _LICENCE,
        "rendered: two digits of seven segments, 00 to 59; out of distribution: dark digits on a pale ground",
        "numbers:display",
    ),
    "dominoes": Task(
        tuple(f"{_NUMBERS[a]} and {_NUMBERS[b]}" for a in range(7) for b in range(a, 7)),
        ("a domino with {}.", "a domino tile showing {} dots."),
        (5600, 420, 560),
        420,
        _LICENCE,
        "rendered: the 28 tiles of a set of dominoes; out of distribution: dark tiles with square pips",
        "numbers:domino",
    ),
    "faces": Task(
        ("happy", "sad", "angry", "surprised", "sleeping", "winking", "crying", "laughing"),
        ("a {} face.", "a drawing of a {} face."),
        (800, 160, 320),
        320,
        _LICENCE,
        "rendered: round faces, common expressions more often; out of distribution: line drawings of square faces",
        "figures:face",
        0.5,
    ),
    "figures": Task(
        (
            *("circle", "oval", "ring", "square", "rectangle", "diamond"),
            *("triangle", "pentagon", "hexagon", "star", "cross", "heart"),
        ),
        ("a picture of a {}.", "a {}."),
        (600, 120, 300),
        300,
        _LICENCE,
        "rendered: one large plain figure; out of distribution: rough outlines",
        "figures:figure",
    ),
    "gauges": Task(
        ("empty", "a quarter full", "half full", "three quarters full", "full"),
        ("a gauge that is {}.", "{}."),
        (750, 150, 300),
        300,
        _LICENCE,
        "rendered: bars, columns and rings that are filled in quarters; out of distribution: glasses",
        "numbers:gauge",
    ),
    "pairs": Task(
        ("left", "right"),
        ("the {} thing is larger.",),
        (500, 100, 300),
        300,
        _ICONS,
        "rendered: two shapes of one kind and two sizes; out of distribution: an icon in two sizes",
        "places:larger",
    ),
    "positions": Task(
        ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"),
        ("a thing at the {} of the picture.", "something at the {}."),
        (900, 180, 450),
        450,
        _ICONS,
        "rendered: one small shape in a cell of a three by three grid; out of distribution: an icon",
        "places:position",
    ),
    "rotations": Task(
        ("upright", "on its right side", "upside down", "on its left side"),
        ("a thing that is {}.", "an icon that is {}."),
        (1800, 240, 400),
        320,
        _ICONS,
        "rendered: an icon turned by quarters; out of distribution: icons of other families",
        "places:turned",
    ),
    "shirts": Task(
        DIGITS,
        ("a shirt with the number {}.", "a sports shirt with a {}.", "the number {}."),
        (1500, 250, 400),
        300,
        _FONTS,
        "rendered: a digit on a sports shirt; out of distribution: other typefaces",
        "numbers:shirt",
        0.6,
    ),
    "symmetry": Task(
        ("symmetric", "asymmetric"),
        ("a {} pattern.",),
        (3000, 200, 400),
        400,
        _LICENCE,
        "rendered: patterns that are their mirror image from left to right, or not; out of distribution: coarse pixels",
        "figures:pattern",
    ),
    "textures": Task(
        (
            *("horizontal stripes", "vertical stripes", "diagonal stripes", "checks", "dots", "bricks", "zigzags", "waves"),
            *("a grid", "rings", "rays", "noise", "clouds", "scales", "a honeycomb", "triangles"),
        ),
        ("a texture with {}.", "a pattern of {}."),
        (3200, 320, 480),
        320,
        _LICENCE,
        "rendered: sixteen regular textures in two colours; out of distribution: larger, and lit from one side",
        "surfaces:texture",
    ),
}
"""One row per task, by name."""
