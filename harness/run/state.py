"""The state of a run between experiences: its matrix, tables, timings and document, and how they reach its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.config.resolve import Resolved
from harness.config.user_file import exited
from harness.records.files import ACCURACY_COLUMNS, MEASURE_COLUMNS, TRAIN_COLUMNS, GrowingTable, digest, read_csv, reading
from harness.records.files import write_json as write_json
from harness.records.predictions import write_row
from harness.records.run_check import read_accuracy, read_measures
from harness.records.summary import summarise
from harness.run import checkpoint
from harness.run.environment import peak_memory_mb
from harness.run.heads import Heads
from harness.run.process_group import leads
from harness.run.restore import restore
from harness.run.run_files import CHECKPOINTS, LOG, LOG_PROGRESS, PREDICTIONS, PREDICTIONS_FILE, RECORD, TABLES
from metrics.evaluate import Accuracy
from metrics.plugins import Row
from metrics.prediction_log import PredictionLog
from metrics.suite import Measure
from models.files import remove_named
from models.loading.declared import RUN
from models.loading.description import describe
from models.registry import UserError
from strategies.engine.batches import without_traceback
from strategies.engine.strategy import Strategy
from strategies.plugins import built_in

COLUMNS = dict(zip(TABLES, (ACCURACY_COLUMNS, MEASURE_COLUMNS, TRAIN_COLUMNS), strict=True))
NUMBERED_BY = dict(zip(TABLES, ("after", "experience", "after"), strict=True))
"""The column of each table that says after which experience a row was written."""


def check_no_link(folder: Path) -> None:
    """Raise UserError if the folder of a run or of its benchmark is a symbolic link, through which --fresh does not delete."""
    for path in (folder.parent, folder):
        if path.is_symlink():
            raise UserError(
                f"{path} is a symbolic link to {path.resolve()}, and --fresh deletes nothing through links. Remove the link, "
                "or name its target with --out."
            )


def checkpoint_contents(
    strategy: Strategy, plugins: Mapping[str, Any], heads: Heads | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the weights, the state and the description of the model that a checkpoint between tasks holds.

    Raises UserError if the method's `state` does not return a dict.
    """
    method_state = strategy.state()
    if not isinstance(method_state, dict):
        raise UserError(f"{type(strategy).__name__}.state must return a dict, got {type(method_state).__name__}.")
    state = {
        "method": method_state,
        "heads": strategy.classifier.head_state(),
        "plugins": {name: built_in.state(plugin) for name, plugin in plugins.items()},
        "attributes": {} if strategy.own_state is None else strategy.own_state.changed(),
        "benchmark": None if heads is None else heads.state(),
    }
    own_answers = type(strategy).predict is not Strategy.predict
    description = {**describe(strategy.encoder), RUN: {"tuning": strategy.encoder.tuning, "own_answers": own_answers}}
    return strategy.encoder.state_dict(), state, description


class RunState:
    """Everything a run has done so far. `load` reads it from the folder, `save` writes it after each experience.

    `rows[after]` is a row of the accuracy matrix, `done` the last experience with a checkpoint (-1 before the first one),
    `damage` a warning if the latest checkpoint was damaged and the one before it is used, and `heads` the classes that
    checkpoints record.
    """

    def __init__(self, resolved: Resolved):
        self.resolved = resolved
        self.folder = resolved.folder
        self.rows: dict[int, Row] = {}
        self.measures: list[Measure] = []
        self.losses: list[dict[str, Any]] = []
        self.timings: dict[str, float] = {"train": 0.0, "evaluate": 0.0}
        self.images_trained = 0
        self.trainable: int | None = None
        self.done = -1
        self.damage: str | None = None
        self.predictions: PredictionLog | None = None
        self.heads: Heads | None = None
        self.document: dict[str, Any] = {}
        self.tables = {name: GrowingTable(self.folder / name, columns) for name, columns in COLUMNS.items()}

    @property
    def competes(self) -> bool:
        """True if the classes of all tasks so far compete, so that a row depends on the number of tasks."""
        return self.resolved.plan.protocol == "class"

    def load(self) -> None:
        """Read what an interrupted run left, up to its last checkpoint; nothing if it left no checkpoint.

        Raises UserError, naming the file, for tables that are not what was written.
        """
        committed = checkpoint.last_undamaged(self.folder / CHECKPOINTS, self.resolved.key)
        if committed is None:
            return
        done, path = committed.after, self.folder / "accuracy.csv"
        tables = {name: self._rows_until(done, name) for name in TABLES}
        if sorted({int(row["after"]) for row in tables["accuracy.csv"]}) != list(range(done + 1)):
            raise UserError(f"{path} does not hold rows 0 to {done}; --fresh starts over.")
        for name, rows in tables.items():
            if committed.counters["tables"].get(name) != digest(rows):
                raise UserError(f"{self.folder / name} is damaged (not the rows that were written); --fresh starts over.")
            self.tables[name].add(rows)
        cells = read_accuracy(path, self.resolved.tasks, self.resolved.heldout, last=done)
        for (after, stream, task), cell in cells.items():
            self.rows.setdefault(after, {})[stream, task] = Accuracy(cell.correct, cell.n)
        measures = read_measures(self.folder / "measures.csv", self.resolved.tasks, last=done)
        self.measures = [Measure(*measure) for measure in measures]
        self.losses = [dict(row) for row in tables["train.csv"]]
        self.timings = committed.counters["timings"]
        self.images_trained = committed.counters["images_trained"]
        self.trainable = committed.counters.get("trainable_params")
        self.done, self.damage = done, committed.warning

    def _rows_until(self, done: int, name: str) -> list[dict[str, str]]:
        """Return the rows of a table up to experience `done`."""
        with reading(self.folder / name):
            return [row for row in read_csv(self.folder / name) if int(row[NUMBERED_BY[name]]) <= done]

    def restore(self, strategy: Strategy, plugins: Mapping[str, Any], experiences: Sequence[Any]) -> None:
        """Give a new strategy and new plugins the state of the last checkpoint. `experiences` are the finished ones.

        Raises StartOver as `harness.run.restore.restore`.
        """
        weights, state = checkpoint.load_state(self.folder / CHECKPOINTS, self.done, strategy.device)
        restore(weights, state, strategy, plugins, experiences)

    def add_training(self, after: int, strategy: Strategy, measuring_seconds: float) -> None:
        """Add the losses and the cost of an experience. The time of measuring the trained model is not training time."""
        if strategy.trains:
            self.trainable = sum(parameter.numel() for parameter in strategy.trainable)
        if strategy.learns:
            self.timings["train"] += strategy.seconds - measuring_seconds
        self.images_trained += strategy.images_seen
        self.losses += [{"after": after, **record} for record in strategy.history]

    def save(self, after: int, strategy: Strategy, plugins: Mapping[str, Any]) -> None:
        """Write everything up to experience `after`. It counts from the moment that `latest.json` is replaced."""
        if not leads():
            self.done = after
            return
        weights, state, description = checkpoint_contents(strategy, plugins, self.heads)
        try:
            checkpoint.save_state(self.folder / CHECKPOINTS, after, weights, state, description)
        except TypeError as error:
            raise UserError(f"The state of {type(strategy).__name__} or of a plugin cannot be saved: {error}.") from error
        self.tables["accuracy.csv"].add(
            {"after": after, "stream": stream, "task": task, "accuracy": cell.percent, "correct": cell.correct, "n": cell.n}
            for (stream, task), cell in self.rows[after].items()
        )
        self.tables["measures.csv"].add(m._asdict() for m in self.measures[len(self.tables["measures.csv"]) :])
        self.tables["train.csv"].add(self.losses[len(self.tables["train.csv"]) :])
        for table in self.tables.values():
            table.write()
        if self.predictions is not None and self.predictions.rows:
            write_row(self.folder, after, self.predictions.rows)
        checkpoint.commit(
            self.folder / CHECKPOINTS,
            after,
            keep_all=self.resolved.config.keep == "all",
            key=self.resolved.key,
            tables={name: table.digest for name, table in self.tables.items()},
            timings=self.timings,
            images_trained=self.images_trained,
            trainable_params=self.trainable,
        )
        self.done = after
        self.write_document("running")

    def write_document(self, status: str, error: str | None = None) -> None:
        """Write `run.json`: configuration, machine, progress, and the summary of a finished run."""
        tasks, retained = self.resolved.tasks, self.resolved.retained
        if self.trainable is not None:
            # A probe makes its heads when it is trained.
            self.document["trainable_params"] = self.trainable
        self.document.update(
            status=status,
            error=error,
            summary=summarise(self.rows, tasks, retained, self.measures) if status == "finished" else None,
            progress={"after": self.done, "of": len(tasks)},
            train_seconds=round(self.timings["train"], 3),
            eval_seconds=round(self.timings["evaluate"], 3),
            images_per_second=round(self.images_trained / self.timings["train"], 1) if self.images_trained else None,
            peak_memory_mb=peak_memory_mb(),
        )
        if leads():
            write_json(self.folder / RECORD, self.document)

    @contextmanager
    def recording_failures(self) -> Iterator[None]:
        """Write the status "interrupted" or "failed" into `run.json` when the block ends with an exception."""
        try:
            yield
        except KeyboardInterrupt:
            with suppress(OSError):
                self.write_document("interrupted")
            raise
        except (Exception, SystemExit) as error:
            cause: Exception = exited(error) if isinstance(error, SystemExit) else error
            cause = without_traceback(cause) if isinstance(cause, UserError) else cause
            # A full disk must not hide the cause.
            with suppress(OSError):
                self.write_document("failed", error=f"{type(cause).__name__}: {cause}")
            if cause is not error:
                raise cause from None
            raise

    def clear(self) -> list[Path]:
        """Delete the files that a run writes, by name and never through a link; return the paths that are not ours."""
        left = remove_named(self.folder, *map(re.escape, (RECORD, *TABLES)))
        left += remove_named(self.folder / PREDICTIONS, PREDICTIONS_FILE)
        with suppress(OSError):
            (self.folder / PREDICTIONS).rmdir()
        # What loggers have written stays, but a run that starts over is a new run to them.
        left += remove_named(self.folder / LOG, re.escape(LOG_PROGRESS))
        return [*left, *checkpoint.clear(self.folder / CHECKPOINTS, self.resolved.key)]
