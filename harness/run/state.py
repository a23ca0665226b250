"""A run between experiences: what is in its folder, as objects, and how it gets there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.resolve import Resolved
from harness.records.files import (
    ACCURACY_COLUMNS,
    MEASURE_COLUMNS,
    TRAIN_COLUMNS,
    GrowingTable,
    digest,
    read_csv,
    reading,
    write_json,
)
from harness.records.summary import summarise
from harness.run import checkpoint
from harness.run.environment import peak_memory_mb
from harness.run.process_group import leads
from metrics.evaluate import Accuracy
from metrics.plugins import Measure, Row
from models.files import remove_named
from models.loading.description import describe
from models.registry import UserError
from strategies.plugins import built_in as plugin_module

# The tables of a run: what says after which experience a row was written, and the columns.
TABLES = {
    "accuracy.csv": ("after", ACCURACY_COLUMNS),
    "measures.csv": ("experience", MEASURE_COLUMNS),
    "train.csv": ("after", TRAIN_COLUMNS),
}


def check_no_link(folder: Path) -> None:
    """Raise UserError where a run's folder or its benchmark's is a symbolic link: --fresh deletes nothing through it."""
    for each in (folder.parent, folder):
        if each.is_symlink():
            raise UserError(
                f"{each} is a symbolic link to {each.resolve()}, and --fresh deletes nothing through links: remove the link, "
                "or name the place that it leads to with --out."
            )


class RunState:
    """What a run has done so far. `load` takes it up from the folder, `save` writes it after each experience."""

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
        self.document: dict[str, Any] = {}
        self.tables = {name: GrowingTable(self.folder / name, columns) for name, (_, columns) in TABLES.items()}

    def load(self) -> None:
        """Take up what a killed run left: rows up to its last checkpoint. Nothing there: start from nothing.

        Raises UserError, naming the file, for tables that are not what was written. `damage` says what is wrong with the latest
        checkpoint where the one before it is taken.
        """
        found = checkpoint.sound(self.folder / "checkpoint", self.resolved.key)
        if found is None:
            return
        done, path = found.after, self.folder / "accuracy.csv"
        tables = self._tables(done)
        with reading(path):
            for r in tables["accuracy.csv"]:
                cell = Accuracy(int(r["correct"]), int(r["n"]))
                self.rows.setdefault(int(r["after"]), {})[r["stream"], r["task"]] = cell
        if sorted(self.rows) != list(range(done + 1)):
            raise UserError(f"{path} does not hold rows 0 to {done}; --fresh starts over.")
        for name, rows in tables.items():
            if found.counters["tables"].get(name) != digest(rows):
                raise UserError(f"{self.folder / name} is damaged (not the rows that were written); --fresh starts over.")
            self.tables[name].add(rows)
        for m in tables["measures.csv"]:
            value = float(m["value"]) if m["value"] else float("nan")
            self.measures.append(Measure(m["when"], int(m["experience"]), m["task"], m["measure"], value, int(m["n"])))
        self.losses = [dict(r) for r in tables["train.csv"]]
        self.timings = found.counters["timings"]
        self.images_trained = found.counters["images_trained"]
        self.trainable = found.counters.get("trainable_params")
        self.done, self.damage = done, found.warning

    def _tables(self, done: int) -> dict[str, list[dict[str, str]]]:
        """The rows of each table up to experience `done`, as they stand on the disk."""
        found = {}
        for name, (when, _) in TABLES.items():
            with reading(self.folder / name):
                found[name] = [row for row in read_csv(self.folder / name) if int(row[when]) <= done]
        return found

    def save(self, after: int, strategy: Any, plugins: Mapping[str, Any]) -> None:
        """Write everything up to experience `after`; it counts from the moment `latest.json` is replaced."""
        if not leads():
            self.done = after
            return
        weights = dict(strategy.encoder.state_dict())
        method = strategy.state()
        if not isinstance(method, dict):
            raise UserError(f"{type(strategy).__name__}.state must return a dict, got {type(method).__name__}.")
        state = {
            "method": method,
            "heads": strategy.classifier.head_state(),
            "plugins": {name: plugin_module.state(plugin) for name, plugin in plugins.items()},
            "attributes": strategy.own_state.changed(),
        }
        try:
            checkpoint.save_state(self.folder / "checkpoint", after, weights, state, describe(strategy.encoder))
        except TypeError as error:
            raise UserError(f"The state of {type(strategy).__name__} or of a plugin cannot be saved: {error}.") from error
        row = self.rows[after]
        self.tables["accuracy.csv"].add(
            {"after": after, "stream": s, "task": t, "accuracy": c.percent, "correct": c.correct, "n": c.n}
            for (s, t), c in row.items()
        )
        self.tables["measures.csv"].add(m._asdict() for m in self.measures[len(self.tables["measures.csv"]) :])
        self.tables["train.csv"].add(self.losses[len(self.tables["train.csv"]) :])
        for table in self.tables.values():
            table.write()
        tables = {name: table.digest for name, table in self.tables.items()}
        counters = {"timings": self.timings, "images_trained": self.images_trained, "trainable_params": self.trainable}
        checkpoint.commit(self.folder / "checkpoint", after, key=self.resolved.key, tables=tables, **counters)
        self.done = after
        self.write_document("running")

    def write_document(self, status: str, error: str | None = None) -> None:
        """`run.json`: the configuration, the machine, how far the run is, and its summary once it is finished."""
        r = self.resolved
        finished = status == "finished"
        if self.trainable is not None:
            # A probe has its heads when it was trained, and not before.
            self.document["trainable_params"] = self.trainable
        self.document.update(
            status=status,
            error=error,
            summary=summarise(self.rows, r.tasks, r.heldout, self.measures) if finished else None,
            progress={"after": self.done, "of": len(r.tasks)},
            train_seconds=round(self.timings["train"], 3),
            eval_seconds=round(self.timings["evaluate"], 3),
            images_per_second=round(self.images_trained / self.timings["train"], 1) if self.images_trained else None,
            peak_memory_mb=peak_memory_mb(),
        )
        if leads():
            write_json(self.folder / "run.json", self.document)

    def tidy(self) -> None:
        """Delete the files that a killed process was writing. The folder is locked, so nobody is writing them now."""
        remove_named(self.folder, *map(re.escape, ("run.json", *TABLES)), unfinished=True)
        checkpoint.tidy(self.folder / "checkpoint")

    def clear(self) -> list[Path]:
        """Delete the files that a run writes, by name and never through a link; return what is left because it is not ours."""
        left = remove_named(self.folder, *map(re.escape, ("run.json", *TABLES)))
        return [*left, *checkpoint.clear(self.folder / "checkpoint", self.resolved.key)]
