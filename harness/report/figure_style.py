"""The style of figures: colours for colour-blind readers (Okabe and Ito 2008), markers, and grids of small panels."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Two unique shades, which the page replaces by its text and line colours (light, dark, print).
INK, GRID = "#010203", "#b9babb"
# The eight colours of Okabe and Ito without black (used for text) and yellow (too light on white).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", (0, (1, 1)))
OTHERS = "#8a8d91"
"""A grey for several methods together, readable on white and on black."""
WIDTH = 4.7
"""Width in inches, for one column of a small screen. A wide page has several columns of figures."""
COLUMNS = 2
MAX_LINES = 8
MAX_PANELS = 24
MAX_BARS = 30
MAX_NAMED = 16
"""Limits above which lines are indistinguishable and names unreadable."""

STYLE: Any = {
    "svg.fonttype": "none",
    # Makes identical figures identical files.
    "svg.hashsalt": "report",
    # Names may contain $.
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
    """The look of a method in all figures of a section."""

    colour: str
    marker: str
    dash: Any


def looks(labels: Sequence[str], references: Collection[str] = ("zero-shot",)) -> dict[str, Look]:
    """Return the look of each method. References are dotted in the text colour.

    Args:
        labels: labels of the methods.
        references: labels of the methods that train nothing.
    """
    look_by_label, i = {}, 0
    for label in labels:
        if label in references:
            look_by_label[label] = Look(INK, "x", (0, (1, 2)))
            continue
        look_by_label[label] = Look(
            COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)]
        )
        i += 1
    return look_by_label


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style to figures that are made and saved in this context."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser has fonts for other scripts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def panels(titles: Sequence[str], height: float = 1.55, columns: int = COLUMNS, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a grid of small panels, one per title. Unused panels of the last row are removed.

    Args:
        titles: title of each panel.
        height: height of a panel in inches.
        columns: maximum number of columns.
        options: options of `Figure.subplots`; axes are shared by default.
    """
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
    """Shorten a name to at most `most` characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend above the panels, in as many columns as fit. The figure grows by the height of further rows."""
    longest = max((len(label) for label in labels), default=0)
    most = int(figure.get_figwidth() * 9.5)
    columns = max(1, min(len(labels), int(figure.get_figwidth() * 11 // (min(longest, most) + 6))))
    figure.set_figheight(figure.get_figheight() + 0.18 * (-(-len(labels) // columns) - 1))
    figure.legend(handles, [short(label, most) for label in labels], loc="outside upper center", ncols=columns)
