"""Progress of the `data` commands: a bar with an estimate on a terminal, plain lines in a pipe."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


class DataProgress:
    """Progress of long work. Call it with (done, total, description); total 0 means unknown.

    Args:
        console: console to print on.
        lines: in a pipe, print one line per description.
    """

    def __init__(self, console: Console, lines: bool = True):
        self.console, self.lines = console, lines
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._last: tuple[int, int, str] = (0, -1, "")

    def __enter__(self) -> DataProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def say(self, message: str, style: str | None = None) -> None:
        """Print one line above the bar."""
        self.console.print(message, style=style, highlight=False, soft_wrap=True)

    def __call__(self, done: int, total: int, description: str) -> None:
        """Move the bar. A new description or total starts a new bar."""
        last_done, last_total, last_description = self._last
        if not self.console.is_terminal:
            if self.lines and description != last_description and (done < total or not total):
                self.say(f"{description} ...")
                self._last = (done, total, description)
            return
        if description != last_description and (total != last_total or done < last_done):
            self.end()
        self._last = (done, total, description)
        if self._progress is None:
            columns: Any = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._bar = self._progress.add_task(description, total=total or None)
        self._progress.update(self._bar, description=description, completed=done, total=total or None)

    def end(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
