"""Lines and progress of the `data` commands: a bar with an estimate on a terminal, plain lines when piped."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class DataProgress:
    """Shows long work while it goes on. Calling it with (done, total, what) moves the bar; total 0: not known.

    Piped, each new `what` is a line, unless `lines` is False.
    """

    def __init__(self, console: Console, lines: bool = True):
        self.console, self.lines = console, lines
        self._progress: Progress | None = None
        self._task: Any = None
        self._last: tuple[int, int, str] = (0, -1, "")

    def __enter__(self) -> DataProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def say(self, message: str, style: str | None = None) -> None:
        """One line, above the bar."""
        self.console.print(message, style=style, highlight=False, soft_wrap=True)

    def __call__(self, done: int, total: int, what: str) -> None:
        if not self.console.is_terminal:
            if self.lines and what != self._last[2] and (done < total or not total):
                self.say(f"{what} ...")
                self._last = (done, total, what)
            return
        before, size, shown = self._last
        if what != shown and (total != size or done < before):  # other work: its own bar and estimate
            self.end()
        self._last = (done, total, what)
        if self._progress is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self.console, transient=True)
            self._progress.start()
            self._task = self._progress.add_task(what, total=total or None)
        self._progress.update(self._task, description=what, completed=done, total=total or None)

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
