"""The output of a run: banner, progress with an estimate, the growing accuracy matrix and the summary.

A terminal shows a live display, a pipe plain lines. `--quiet` prints only errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from benchmarks.names import SEEN
from harness.display.console import PIPED_WIDTH, SafeConsole
from harness.display.matrix_table import HasPercent, Rows, matrix_tables
from harness.display.plain_table import plain_table
from harness.records.titles import METRIC_TITLES


class Estimate:
    """Remaining time from measured rates. Training steps and evaluated images are timed separately.

    Args:
        steps: training steps left.
        images: images left to evaluate.
    """

    def __init__(self, steps: int, images: int):
        self.left = {"train": steps, "evaluate": images}
        self._done = {"train": 0, "evaluate": 0}
        self._seconds = {"train": 0.0, "evaluate": 0.0}

    def add(self, kind: str, amount: int, seconds: float) -> None:
        """Record that `amount` more units of "train" or "evaluate" took `seconds`."""
        self.left[kind] = max(0, self.left[kind] - amount)
        self._done[kind] += amount
        self._seconds[kind] += seconds

    def rate(self, kind: str) -> float | None:
        """Return the seconds per step or image, or None before the first."""
        return self._seconds[kind] / self._done[kind] if self._done[kind] else None

    def remaining(self) -> float | None:
        """Return the remaining seconds, or None until every kind of remaining work has been timed."""
        rates = {kind: self.rate(kind) for kind, left in self.left.items() if left}
        return sum(self.left[kind] * rate for kind, rate in rates.items() if rate) if None not in rates.values() else None

    def fraction(self) -> float:
        """Return the fraction of the total time that has passed, 0 to 1. Without an estimate it is 0."""
        spent, remaining = sum(self._seconds.values()), self.remaining()
        return 0.0 if remaining is None else spent / max(1e-9, spent + remaining)


class Screen:
    """The output of one run.

    Args:
        quiet: print nothing.
        console: console to print on; None makes one.
        live: show the live display; None shows it on a terminal.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None, live: bool | None = None):
        self.console = console or SafeConsole(quiet=quiet)
        self.quiet = quiet
        self._use_live = (self.console.is_terminal if live is None else live) and not quiet
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}
        self._estimate = Estimate(0, 0)
        self._tasks: list[str] = []
        self._heldout: list[str] = []
        self._rows: dict[int, Mapping[tuple[str, str], HasPercent]] = {}
        self._stage_left = 0
        self._clock = time.perf_counter()
        self._data_description = ""

    def say(self, message: str, style: str | None = None) -> None:
        """Print one line."""
        if not self.quiet:
            self.console.print(message, style=style, highlight=False, soft_wrap=not self.console.is_terminal)

    def show(self, table: RenderableType) -> None:
        """Print a table. In a pipe it is wide enough for every column."""
        if not self.quiet:
            (self.console if self.console.is_terminal else SafeConsole(file=self.console.file, width=PIPED_WIDTH)).print(table)

    def banner(self, title: str, lines: Sequence[str]) -> None:
        """Print the title and the lines that describe the run."""
        if self.quiet:
            return
        self.console.print(Text(title, style="bold"))
        for line in lines:
            self.console.print(f"  {line}", style="dim", highlight=False, soft_wrap=not self.console.is_terminal)

    def data(self, done: int, total: int, description: str) -> None:
        """Show the progress of rendering or reading data."""
        if self.quiet:
            return
        if not self._use_live:
            if description != self._data_description:
                self.say(f"{description} ...")
                self._data_description = description
            return
        progress = self._progress or self._open(with_table=False)
        if "data" not in self._bars:
            self._bars["data"] = progress.add_task(description, total=total, left="")
        progress.update(self._bars["data"], description=description, completed=done, total=total)

    def begin(
        self,
        tasks: Sequence[str],
        heldout: Sequence[str],
        rows: Rows,
        steps: int,
        images: int,
    ) -> None:
        """Start the display of the run.

        Args:
            tasks: names of the tasks in order.
            heldout: names of the held-out domains.
            rows: rows of the accuracy matrix that are already complete.
            steps: training steps left.
            images: images left to evaluate.
        """
        self.end()
        self._tasks, self._heldout = list(tasks), list(heldout)
        self._rows = dict(rows)
        self._estimate = Estimate(steps, images)
        self._clock = time.perf_counter()
        if self._use_live:
            progress = self._open(with_table=True)
            self._bars["overall"] = progress.add_task("overall", total=1.0, left="")
            self._bars["task"] = progress.add_task("", total=1.0, left="")

    def stage(self, kind: str, task: str, amount: int) -> None:
        """Start a stage, "train" or "evaluate", of `amount` steps or images on a task."""
        self._clock = time.perf_counter()
        self._stage_left = amount
        if self._progress is not None and "task" in self._bars:
            self._progress.reset(self._bars["task"], total=float(max(1, amount)), description=f"{kind} {task}")

    def advance(self, kind: str, amount: int) -> None:
        """Record that `amount` more steps or images of the current stage are done."""
        now = time.perf_counter()
        self._estimate.add(kind, amount, now - self._clock)
        self._clock = now
        self._stage_left = max(0, self._stage_left - amount)
        if self._progress is None or "task" not in self._bars:
            return
        rate = self._estimate.rate(kind) or 0.0
        self._progress.update(self._bars["task"], advance=amount, left=time_left(self._stage_left * rate))
        remaining = self._estimate.remaining()
        left = "estimating" if remaining is None else time_left(remaining)
        self._progress.update(self._bars["overall"], completed=self._estimate.fraction(), left=left)

    def spent(self, kind: str, seconds: float) -> None:
        """Add time to that of the steps or images that `advance` has counted."""
        self._estimate.add(kind, 0, seconds)

    def aside(self, done: int, total: int, description: str) -> None:
        """Show the progress of other work: a search, a teacher's features, a plugin's pass over the data."""
        # Excludes this work from the time of the next step.
        self._clock = time.perf_counter()
        if self._progress is not None and "task" in self._bars:
            self._progress.update(self._bars["task"], description=description, completed=done, total=max(1, total), left="")

    def row(self, after: int, cells: Mapping[tuple[str, str], HasPercent]) -> None:
        """Show a complete row of the accuracy matrix."""
        self._rows[after] = cells
        self._clock = time.perf_counter()
        if self._live is not None:
            self._live.update(self._view())
        elif not self.quiet:
            name = "zero-shot" if after == 0 else f"{after} {self._tasks[after - 1]}"
            values = " ".join(f"{t}={cells['test', t].percent:.1f}" for t in self._tasks)
            if ("test", SEEN) in cells:
                values = f"{SEEN}={cells['test', SEEN].percent:.1f} | {values}"
            held = " ".join(f"{h}={cells['heldout', h].percent:.1f}" for h in self._heldout)
            remaining = self._estimate.remaining()
            left = "" if not remaining else f" | {time_left(remaining)}"
            self.say(f"after {name}: {values}{' | held out: ' + held if held else ''}{left}")

    def end(self) -> None:
        """Stop the live display. The last table remains on the screen."""
        if self._live is not None:
            if "overall" in self._bars:
                self._live.update(self._matrix())
            self._live.stop()
        self._live, self._progress, self._bars = None, None, {}

    def summary(
        self,
        summary: Mapping[str, float],
        zero: Mapping[str, float] | None,
        folder: str,
        lines: Sequence[str],
        commands: Sequence[str] = (),
        tables: Sequence[Table] = (),
    ) -> None:
        """Print the summary of a finished run and the path of its record.

        Args:
            summary: metrics of the run.
            zero: metrics of the initial model; None leaves this row out.
            folder: folder of the record.
            lines: lines below the summary.
            commands: lines below the path of the record, with what to run next.
            tables: further tables below the summary.
        """
        if self.quiet:
            return
        table = plain_table()
        table.add_column("")
        shown = {key: name for key, name in METRIC_TITLES.items() if key in summary}
        for name in shown.values():
            table.add_column(name, justify="right")
        console = self.console if self._use_live else SafeConsole(file=self.console.file, width=PIPED_WIDTH)
        if not self._use_live:
            for matrix in matrix_tables(self._rows, self._tasks, self._heldout, console, PIPED_WIDTH, shorten=False):
                console.print(matrix)
        table.add_row("this run", *(_number(summary[key]) for key in shown), style="bold")
        if zero is not None:
            table.add_row("zero-shot", *(_number(zero.get(key, float("nan"))) for key in shown), style="dim")
        console.print(table)
        for each in tables:
            console.print(each)
        for line in lines:
            self.say(line, style="dim")
        self.console.print(f"record: {folder}", highlight=False, soft_wrap=True)
        for line in commands:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _open(self, with_table: bool) -> Progress:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=self.console,
        )
        self._live = Live(
            self._view() if with_table else self._progress,
            console=self.console,
            refresh_per_second=5,
            transient=not with_table,
        )
        self._live.start()
        return self._progress

    def _view(self) -> Group:
        return Group(self._matrix(), self._progress) if self._progress is not None else self._matrix()

    def _matrix(self) -> Group:
        """Return the accuracy matrix so far, within the width of the terminal."""
        return Group(*matrix_tables(self._rows, self._tasks, self._heldout, self.console, self.console.width))


def _number(value: float) -> str:
    return "-" if value != value else f"{value:z.1f}"


def time_left(seconds: float) -> str:
    """Return a text such as "8 s left", "2:05 left" or "1:02:10 left"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s left"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}") + " left"
