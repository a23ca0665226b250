"""`Logger`: the base class of every logger, and what it is told about its run. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Update = tuple[int, Mapping[str, float]]
"""The number of an update, counted from 1 over all tasks, and its values: "train/loss", "train/lr", "train/<term>"."""


@dataclass(frozen=True)
class LoggedRun:
    """The facts about a run that its logger receives.

    Attributes:
        id: a text that no other run of the logger has. A continued run keeps it; --fresh makes a new one.
        resumed: the logger has had a part of the run, in another process.
        updates: the number of updates that it has had.
        name: strategy and seed.
        strategy: the strategy with its plugins, the same for every seed.
        project: benchmark, edition and order, as in the name of the run's folder.
        folder: the folder for the logger's files, inside the folder of the run. It may not exist yet.
        results: the folder of all records, `--out`.
        config: settings, key, versions and device of the run, as JSON.
    """

    id: str
    resumed: bool
    updates: int
    name: str
    strategy: str
    project: str
    folder: Path
    results: Path
    config: Mapping[str, Any]


class Logger:
    """A logger: `bench --log FILE.py:MyLogger`. It is made without arguments, and the methods are called in this order.

    An exception in a method ends the logging with a warning. It does not stop the run.

    Example:
        class Printer(Logger):
            def task(self, after, values, matrix):
                print(after, values)

    Attributes:
        libraries: modules that must be installed.
        install: a command that installs them, for the message about a missing one.
        place: where the log is or how to look at it, for a line on the screen. Set in `start`.
    """

    libraries: tuple[str, ...] = ()
    install = ""
    place = ""

    def start(self, run: LoggedRun) -> None:
        """Begin the log of a run, or continue it if `run.resumed`."""

    def updates(self, rows: Sequence[Update]) -> None:
        """Log updates. Called about once per second while a task is trained, and after it. No update comes twice."""

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Log the evaluation after a task. Called once for each row of the accuracy matrix.

        Args:
            after: number of tasks trained so far; 0 for the initial model.
            values: accuracies in percent ("accuracy/<task>", "heldout/<name>") and measures of this task ("measure/<name>").
            matrix: the accuracy matrix so far as a picture, uint8 [H, W, 3].
        """

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """End the log with the summary of a finished run. None for a run that is interrupted or has failed."""


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names: {"options": {"lr": 0.1}} as {"options.lr": 0.1}."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return values
