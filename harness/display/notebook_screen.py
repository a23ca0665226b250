"""The output of a run in a notebook: progress bars and the growing accuracy matrix, in one place that is updated."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from rich.table import Table

from harness.display.console import PIPED_WIDTH, SafeConsole
from harness.display.matrix_html import matrix_html
from harness.display.matrix_table import HasPercent, Rows
from harness.display.screen import Screen, time_left

EVERY = 0.3
"""Least seconds between two updates of the bars."""
Update = Callable[[str], None]


def in_notebook() -> bool:
    """Return whether this code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def show_html(html: str) -> Update:
    """Show HTML in the output of the cell, and return a function that replaces it."""
    from IPython.display import HTML, display

    handle = display(HTML(html), display_id=True)
    return lambda new: handle.update(HTML(new))


class NotebookScreen(Screen):
    """The output of one run in a notebook.

    Args:
        show: shows HTML and returns a function that replaces it.
        quiet: print nothing.
    """

    def __init__(self, show: Callable[[str], Update] = show_html, quiet: bool = False):
        super().__init__(quiet, SafeConsole(quiet=quiet, force_jupyter=False, width=PIPED_WIDTH), live=False)
        self._show = show
        self._update: Update | None = None
        self._bar = ("", 0, 1)
        self._drawn = 0.0
        self._running = False

    def data(self, done: int, total: int, description: str) -> None:
        """Show the progress of rendering or reading data."""
        self._set(description, done, total)

    def begin(self, tasks: Sequence[str], heldout: Sequence[str], rows: Rows, steps: int, images: int) -> None:
        """Start the display of the run."""
        super().begin(tasks, heldout, rows, steps, images)
        self._running = True

    def stage(self, kind: str, task: str, amount: int) -> None:
        """Start a stage of `amount` steps or images on a task."""
        super().stage(kind, task, amount)
        self._set(f"{kind} {task}", 0, amount)

    def advance(self, kind: str, amount: int) -> None:
        """Record that `amount` more steps or images of the current stage are done."""
        super().advance(kind, amount)
        description, done, total = self._bar
        self._set(description, done + amount, total)

    def aside(self, done: int, total: int, description: str) -> None:
        """Show the progress of other work."""
        super().aside(done, total, description)
        self._set(description, done, total)

    def row(self, after: int, cells: Mapping[tuple[str, str], HasPercent]) -> None:
        """Show a complete row of the accuracy matrix."""
        self._rows[after] = cells
        self._clock = time.perf_counter()
        self._draw()

    def end(self) -> None:
        """Remove the bars. The matrix remains."""
        super().end()
        self._running = False
        if self._update is not None:
            self._update(self._matrix_html())
            self._update = None

    def summary(
        self,
        summary: Mapping[str, float],
        zero: Mapping[str, float] | None,
        folder: str,
        lines: Sequence[str],
        commands: Sequence[str] = (),
        tables: Sequence[Table] = (),
    ) -> None:
        """Print the path of the record. The result of the run shows its numbers."""
        self.say(f"record: {folder}")

    def _set(self, description: str, done: int, total: int) -> None:
        self._bar = (description, done, max(1, total))
        if time.perf_counter() - self._drawn > EVERY:
            self._draw()

    def _draw(self) -> None:
        if self.quiet:
            return
        description, done, total = self._bar
        bars = [_bar(description, done / total, "")]
        if self._running:
            remaining = self._estimate.remaining()
            left = "estimating" if remaining is None else time_left(remaining)
            bars.insert(0, _bar("overall", self._estimate.fraction(), left))
        html = f"{''.join(bars)}{self._matrix_html()}"
        if self._update is None:
            self._update = self._show(html)
        else:
            self._update(html)
        self._drawn = time.perf_counter()

    def _matrix_html(self) -> str:
        return matrix_html(self._rows, self._tasks, self._heldout) if self._rows else ""


def _bar(description: str, fraction: float, left: str) -> str:
    return f'<div><progress value="{fraction:.3f}" max="1"></progress> {escape(description)} {escape(left)}</div>'
