"""Hand a run over to its loggers: each receives everything once, and none of them stops the run."""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update
from harness.records.files import read_json, write_json
from harness.records.summary import HasPercent
from harness.run.run_files import LOG_PROGRESS
from models.registry import UserError, first_line
from strategies.engine.method_checks import TRAIN_COLUMNS

Rows = Mapping[int, Mapping[tuple[str, str], HasPercent]]


class RunLog:
    """The loggers of a run. Without loggers, nothing happens.

    `log/progress.json` in the folder of the run holds what each logger has received, so a continued run continues there, and a
    logger that is added later receives everything from the start. Use it as a context: it starts the loggers, and ends those
    whose run has not finished.
    """

    def __init__(
        self,
        kinds: Mapping[str, type[Logger]],
        run: LoggedRun,
        tasks: Sequence[str],
        heldout: Sequence[str],
        say: Callable[..., None],
    ):
        """Prepare loggers.

        Args:
            kinds: the class of each logger by name.
            run: the run. Its folder holds one folder per logger; `id`, `resumed` and `updates` are set for each logger.
            tasks: names of the tasks in order.
            heldout: names of the held-out domains.
            say: prints a line (`Screen.say`).
        """
        self._kinds, self._run, self._tasks, self._heldout, self._say = kinds, run, tasks, heldout, say
        self._loggers: dict[str, Logger] = {}
        self.progress = read_progress(run)
        # Called before loggers end early: hands over the updates since the last time.
        self.before_end: Callable[[], None] | None = None

    def __enter__(self) -> RunLog:
        for name, kind in self._kinds.items():
            known = self.progress.setdefault(name, {"id": uuid.uuid4().hex[:12], "updates": 0, "after": -1, "finished": False})
            resumed = known["updates"] > 0 or known["after"] >= 0
            with self._without(name):
                logger = kind()
                folder = self._run.folder / name
                logger.start(replace(self._run, id=known["id"], resumed=resumed, updates=known["updates"], folder=folder))
                self._loggers[name] = logger
                self._say(f"log: {name}{f' ({logger.place})' if logger.place else ''}")
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._loggers and self.before_end is not None:
            with suppress(Exception):
                self.before_end()
        for name, logger in list(self._loggers.items()):
            with self._without(name):
                logger.finish(None)
        self._loggers.clear()

    def __bool__(self) -> bool:
        return bool(self._loggers)

    @property
    def received(self) -> int:
        """The number of updates that every logger has received."""
        return min(int(self.progress[name]["updates"]) for name in self._loggers)

    def updates(self, records: Sequence[Mapping[str, Any]], first: int = 1) -> None:
        """Hand over updates.

        Args:
            records: rows of train.csv in order.
            first: number of the first one, counted from 1 over all tasks.
        """
        for name, logger in list(self._loggers.items()):
            received = self.progress[name]["updates"]
            new: list[Update] = [(first + i, _terms(record)) for i, record in enumerate(records) if first + i > received]
            if new:
                with self._without(name):
                    logger.updates(new)
                    self._note(name, updates=new[-1][0])

    def rows(self, rows: Rows, measures: Sequence[Any]) -> None:
        """Hand over rows of the accuracy matrix and measures (`metrics.suite.Measure`)."""
        for after in sorted(rows):
            waiting = [name for name in self._loggers if self.progress[name]["after"] < after]
            if not waiting:
                continue
            row = rows[after].items()
            values = {f"{'accuracy' if stream == 'test' else stream}/{task}": cell.percent for (stream, task), cell in row}
            values |= {f"measure/{m.measure}": float(m.value) for m in measures if m.experience == after}
            image = functools.cache(functools.partial(self._image, {j: rows[j] for j in rows if j <= after}))
            for name in waiting:
                with self._without(name):
                    self._loggers[name].task(after, _finite(values), image())
                    self._note(name, after=after)

    def finish(self, summary: Mapping[str, float]) -> None:
        """Hand over the summary of the finished run, and end the loggers."""
        for name, logger in list(self._loggers.items()):
            with self._without(name):
                logger.finish(_finite(summary))
                self._note(name, finished=True)
        self._loggers.clear()

    def _image(self, rows: Rows) -> Any:
        # Imports matplotlib.
        from harness.loggers.matrix_image import matrix_image

        return matrix_image(rows, self._tasks, self._heldout)

    def _note(self, name: str, **changes: Any) -> None:
        self.progress[name].update(changes)
        self._run.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._run.folder / LOG_PROGRESS, self.progress)

    @contextmanager
    def _without(self, name: str) -> Iterator[None]:
        """Leave a logger out from here on if it fails."""
        try:
            yield
        except (Exception, SystemExit) as error:  # another library or a user's class may fail in any way
            self._loggers.pop(name, None)
            self._say(
                f"warning: --log {name} failed ({type(error).__name__}: {first_line(error)}) and is left out from here on. The "
                "run continues, and the same command after its end hands over what is missing.",
                style="yellow",
            )


def read_progress(run: LoggedRun) -> dict[str, dict[str, Any]]:
    """Return what the loggers of a run have received. A damaged file counts as nothing."""
    with suppress(UserError, KeyError, TypeError, ValueError, AttributeError):
        document = read_json(run.folder / LOG_PROGRESS) or {}
        return {
            name: {
                "id": str(known["id"]),
                "updates": int(known["updates"]),
                "after": int(known["after"]),
                "finished": bool(known["finished"]),
            }
            for name, known in document.items()
        }
    return {}


def _terms(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a row of train.csv, as numbers or texts, under names of curves."""
    rest = {name: value for name, value in record.items() if name not in TRAIN_COLUMNS or name in ("loss", "lr")}
    return {f"train/{name}": value for name, value in _finite(rest).items()}


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are finite numbers."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        with suppress(TypeError, ValueError):
            if math.isfinite(number := float(value)):
                numbers[name] = number
    return numbers
