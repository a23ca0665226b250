"""How figures look: one style, colours that colour-blind readers tell apart (Okabe and Ito 2008), grids of small panels."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Two shades that nothing else has: the page replaces them by the reader's text and line colours (light, dark, print).
INK, GRID = "#010203", "#b9babb"
# Of Okabe and Ito's eight without black (the ink) and yellow, which is lost on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (1, 1)))
OTHERS = "#8a8d91"
"""Grey on white and on black: what stands for several methods at once."""
WIDTH = 4.7
"""Inches. Figures are as wide as one column of a small screen; a wide page has several columns of them."""
COLUMNS = 2
# More lines in one panel cannot be told apart.
MOST_LINES = 8
MOST_PANELS = 24
MOST_BARS = 30
MOST_NAMED = 16
"""More names in one figure cannot be read."""

STYLE: Any = {
    "svg.fonttype": "none",
    # The same figure is the same file.
    "svg.hashsalt": "report",
    # Names are not formulas.
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.borderpad": 0.1,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "savefig.dpi": 160,
}


class Look(NamedTuple):
    """How a method is drawn in every figure of a section."""

    colour: str
    marker: str
    dash: Any


def looks(labels: Sequence[str], references: Collection[str] = ("zero-shot",)) -> dict[str, Look]:
    """Return the look of each method: colours first, then other markers and dashes. References are in the ink, dotted."""
    found, i = {}, 0
    for label in labels:
        if label in references:
            found[label] = Look(INK, "x", (0, (1, 2)))
            continue
        found[label] = Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])
        i += 1
    return found


@contextmanager
def styled() -> Iterator[None]:
    """Inside it figures are made and saved."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The browser has a font for it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def panels(titles: Sequence[str], height: float = 1.55, columns: int = COLUMNS, **options: Any) -> tuple[Figure, list[Axes]]:
    """A grid of small panels with shared axes, one for each title; the rest of the last row is left away."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(min(WIDTH, 3.2 * columns + 0.6), height * rows + 0.75), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **{"sharex": True, "sharey": True, **options})
    axes = [axis for row in grid for axis in row]
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(short(title), loc="left")
    for axis in axes[len(titles) :]:
        above = axes[axes.index(axis) - columns]
        above.tick_params(labelbottom=True)
        axis.remove()
    return figure, axes[: len(titles)]


def short(name: str, most: int = 22) -> str:
    """A name that fits over a panel."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Above the panels, in as many columns as fit; the figure grows by what is more than a row."""
    longest = max((len(label) for label in labels), default=0)
    most = int(figure.get_figwidth() * 9.5)
    columns = max(1, min(len(labels), int(figure.get_figwidth() * 11 // (min(longest, most) + 6))))
    figure.set_figheight(figure.get_figheight() + 0.18 * (-(-len(labels) // columns) - 1))
    figure.legend(handles, [short(label, most) for label in labels], loc="outside upper center", ncols=columns)
