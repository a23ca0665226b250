"""What a person sees of a run: banner, progress with an estimate, the growing accuracy matrix, the summary.

On a terminal a live display; piped, plain lines; quiet, nothing but errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from benchmarks.names import SEEN
from harness.display.console import PIPED_WIDTH, SafeConsole
from harness.display.matrix_table import matrix_tables
from harness.display.plain_table import plain_table
from harness.records.titles import METRIC_TITLES


class Estimate:
    """Remaining time from measured rates: training steps and evaluated images are timed apart, for they cost differently."""

    def __init__(self, steps: int, images: int):
        self.left = {"train": steps, "evaluate": images}
        self._done = {"train": 0, "evaluate": 0}
        self._seconds = {"train": 0.0, "evaluate": 0.0}

    def add(self, kind: str, amount: int, seconds: float) -> None:
        """`amount` more of "train" or "evaluate" took `seconds`."""
        self.left[kind] = max(0, self.left[kind] - amount)
        self._done[kind] += amount
        self._seconds[kind] += seconds

    def rate(self, kind: str) -> float | None:
        """Seconds for one of a kind, or None before the first."""
        return self._seconds[kind] / self._done[kind] if self._done[kind] else None

    def remaining(self) -> float | None:
        """Seconds, or None while something that is left has not been timed yet."""
        rates = {kind: self.rate(kind) for kind, left in self.left.items() if left}
        return sum(self.left[kind] * rate for kind, rate in rates.items() if rate) if None not in rates.values() else None

    def fraction(self) -> float:
        """How much of the whole time has passed, 0 to 1; 0 while there is no estimate."""
        spent, remaining = sum(self._seconds.values()), self.remaining()
        return 0.0 if remaining is None else spent / max(1e-9, spent + remaining)


class Screen:
    """Shows one run. `live` None: as the terminal allows."""

    def __init__(self, quiet: bool = False, console: Console | None = None, live: bool | None = None):
        self.console = console or SafeConsole(quiet=quiet)
        self.quiet = quiet
        self._use_live = (self.console.is_terminal if live is None else live) and not quiet
        self._live: Live | None = None
        self._progress: Any = None
        self._bars: dict[str, Any] = {}
        self._estimate = Estimate(0, 0)
        self._tasks: list[str] = []
        self._heldout: list[str] = []
        self._rows: dict[int, Mapping[tuple[str, str], Any]] = {}
        self._stage_left = 0
        self._clock = time.perf_counter()
        self._data_shown = ""

    def say(self, message: str, style: str | None = None) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(message, style=style, highlight=False, soft_wrap=not self.console.is_terminal)

    def show(self, table: Table) -> None:
        """A table, wide enough for every column when piped."""
        if not self.quiet:
            (self.console if self.console.is_terminal else SafeConsole(file=self.console.file, width=PIPED_WIDTH)).print(table)

    def banner(self, title: str, lines: Sequence[str]) -> None:
        """What is about to run."""
        if self.quiet:
            return
        self.console.print(Text(title, style="bold"))
        for line in lines:
            self.console.print(f"  {line}", style="dim", highlight=False, soft_wrap=not self.console.is_terminal)

    def data(self, done: int, total: int, what: str) -> None:
        """Progress of rendering or reading data."""
        if self.quiet:
            return
        if not self._use_live:
            if what != self._data_shown:
                self.say(f"{what} ...")
                self._data_shown = what
            return
        if "data" not in self._bars:
            self._open(with_table=False)
            self._bars["data"] = self._progress.add_task(what, total=total, left="")
        self._progress.update(self._bars["data"], description=what, completed=done, total=total)

    def begin(
        self,
        tasks: Sequence[str],
        heldout: Sequence[str],
        rows: Mapping[int, Mapping[tuple[str, str], Any]],
        steps: int,
        images: int,
    ) -> None:
        """Start the run proper, with the work that is left: training steps and images to evaluate."""
        self.end()
        self._tasks, self._heldout = list(tasks), list(heldout)
        self._rows = dict(rows)
        self._estimate = Estimate(steps, images)
        self._clock = time.perf_counter()
        if self._use_live:
            self._open(with_table=True)
            self._bars["overall"] = self._progress.add_task("overall", total=1.0, left="")
            self._bars["task"] = self._progress.add_task("", total=1.0, left="")

    def stage(self, kind: str, task: str, amount: int) -> None:
        """A stage begins: "train" or "evaluate", on what, and how many steps or images it has."""
        self._clock = time.perf_counter()
        self._stage_left = amount
        if self._progress is not None and "task" in self._bars:
            self._progress.reset(self._bars["task"], total=float(max(1, amount)), description=f"{kind} {task}")

    def advance(self, kind: str, amount: int) -> None:
        """`amount` steps or images of the current stage are done."""
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

    def aside(self, done: int, total: int, what: str) -> None:
        """Progress of work beside steps and evaluation: a search, a teacher's features, a plugin's pass."""
        # Not to be taken for the time of a step.
        self._clock = time.perf_counter()
        if self._progress is not None and "task" in self._bars:
            self._progress.update(self._bars["task"], description=what, completed=done, total=max(1, total), left="")

    def row(self, after: int, cells: Mapping[tuple[str, str], Any]) -> None:
        """A row of the accuracy matrix is complete."""
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
        """Leave the live display; the last table stays."""
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
    ) -> None:
        """Show the summary, next to zero-shot's where only row 0 says what that is, and where the record is.

        `lines` follow the summary, `commands` the record: what to do next.
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
            for part in matrix_tables(self._rows, self._tasks, self._heldout, console, PIPED_WIDTH, shorten=False):
                console.print(part)
        table.add_row("this run", *(_number(summary[key]) for key in shown), style="bold")
        if zero is not None:
            table.add_row("zero-shot", *(_number(zero.get(key, float("nan"))) for key in shown), style="dim")
        console.print(table)
        for line in lines:
            self.say(line, style="dim")
        self.console.print(f"record: {folder}", highlight=False, soft_wrap=True)
        for line in commands:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _open(self, with_table: bool) -> None:
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

    def _view(self) -> Group:
        return Group(self._matrix(), self._progress) if self._progress is not None else self._matrix()

    def _matrix(self) -> Group:
        """The accuracy matrix so far, within the terminal's width."""
        return Group(*matrix_tables(self._rows, self._tasks, self._heldout, self.console, self.console.width))


def _number(value: float) -> str:
    return "-" if value != value else f"{value:z.1f}"


def time_left(seconds: float) -> str:
    """ "8 s left", "2:05 left", "1:02:10 left"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s left"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}") + " left"
