"""Run a benchmark from Python, with progress in a terminal or a notebook and a result that shows itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderableType

from harness.config.config_file import settings_of
from harness.config.run_config import RunConfig
from harness.display.console import PIPED_WIDTH, SafeConsole
from harness.display.matrix_html import matrix_html
from harness.display.matrix_table import Rows, matrix_tables
from harness.display.notebook_screen import NotebookScreen, in_notebook
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.records.runs import Run, read_one
from harness.records.summary import Percent
from harness.run.run_files import RECORD

if TYPE_CHECKING:
    from harness.plan.plan import Plan
    from harness.saved.saved_run import SavedRun


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run. In a notebook and with rich it shows its accuracy matrix.

    Attributes:
        folder: the folder of the record.
        run: the record with its tables.
    """

    folder: Path
    run: Run

    @property
    def summary(self) -> dict[str, float]:
        """The metrics of the run, in percent ("transfer", "average", "last", ...)."""
        return dict(self.run.document["summary"])

    @property
    def accuracy(self) -> pd.DataFrame:
        """The rows of accuracy.csv: after, stream, task, accuracy in percent, correct, n."""
        table = pd.DataFrame(read_csv(self.folder / "accuracy.csv"))
        return table.astype({"after": int, "accuracy": float, "correct": int, "n": int})

    @property
    def rows(self) -> Rows:
        """The accuracy matrix: accuracies by number of trained tasks and by (stream, task). Row 0 is zero-shot."""
        rows: dict[int, dict[tuple[str, str], Percent]] = {}
        for (after, stream, task), percent in self.run.cells.items():
            rows.setdefault(after, {})[stream, task] = Percent(percent)
        return rows

    def model(self, after: int | None = None, device: str = "cpu", *, trust_code: bool = False) -> SavedRun:
        """Return the model of the run (`harness.saved.load_run`)."""
        from harness.saved.load import load_run

        return load_run(self.folder, after, device, trust_code=trust_code)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from matrix_tables(self.rows, self.run.tasks, self.run.heldout, console, options.max_width)

    def _repr_html_(self) -> str:
        return matrix_html(self.rows, self.run.tasks, self.run.heldout, self.summary)

    def __repr__(self) -> str:
        console = SafeConsole(width=PIPED_WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
        with console.capture() as text:
            console.print(self)
        return text.get().rstrip("\n")


def bench(
    benchmark: str = "mtil",
    strategy: str = "zscl",
    *,
    quiet: bool = False,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Result:
    """Run a benchmark, as the command `bench` does: continue an interrupted run and skip a finished one.

    Args:
        benchmark: a name of `list benchmarks`.
        strategy: a name of `list strategies`, or FILE.py:Class.
        quiet: show no progress.
        options: options of the strategy, the tuning ("tuning.NAME") and plugins ("PLUGIN.NAME"), as `--set` takes them.
        **settings: the other flags of `bench`, by the names of the fields of `RunConfig`: `edition`, `order`, `seed`, `tuning`,
            `limit`, `out`, ... Lists of names may be lists or texts joined by commas.

    Returns:
        The finished run.

    Raises:
        UserError: for an unknown name and a value that is not valid.

    Example:
        ```python
        import perennial

        result = perennial.bench("mtil", strategy="wise-ft")
        result
        ```
    """
    from harness.run.loop import run

    config = RunConfig(**settings_of({"benchmark": benchmark, "strategy": strategy, "options": options, **settings}))
    screen = NotebookScreen(quiet=quiet) if in_notebook() else Screen(quiet=quiet)
    folder = run(config, screen).folder
    return Result(folder, read_one(folder / RECORD))


def plan(
    benchmark: str = "mtil",
    strategy: str = "zscl",
    *,
    quiet: bool = False,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    """Return what a run will cost, as `bench --plan` does, and train nothing (docs/plan.md).

    Args:
        benchmark: as in `bench`.
        strategy: as in `bench`.
        quiet: show no progress.
        options: as in `bench`.
        **settings: as in `bench`.

    Returns:
        The plan. In a notebook it shows its tables.

    Raises:
        UserError: for an unknown name and a value that is not valid.
    """
    from harness.plan.plan import make_plan

    config = RunConfig(**settings_of({"benchmark": benchmark, "strategy": strategy, "options": options, **settings}))
    screen = NotebookScreen(quiet=quiet) if in_notebook() else Screen(quiet=quiet)
    made = make_plan(config, screen)
    screen.end()
    return made
