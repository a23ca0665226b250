"""CSV files that grow while the run does, and the accuracy matrix as pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update

COLUMNS = ("axis", "step", "name", "value")


class CsvLogger(Logger):
    """Write `scalars.csv` with one row per value, `config.json`, `summary.json` and `matrix-after-<N>.png`.

    The axis of a row is `update` (the step counts updates over all tasks) or `task` (the step counts trained tasks).
    """

    def start(self, run: LoggedRun) -> None:
        """Write the configuration and the header, or continue the file."""
        self._folder = run.folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / "scalars.csv"
        self.place = str(self._path)
        self._write("config.json", run.config)
        if not run.resumed or not self._path.exists():
            for path in (*self._folder.glob("matrix-after-*.png"), self._folder / "summary.json"):
                path.unlink(missing_ok=True)
            with self._path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(COLUMNS)

    def updates(self, rows: Sequence[Update]) -> None:
        """Append a row per value."""
        self._append(("update", step, name, value) for step, values in rows for name, value in values.items())

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Append a row per value, and write the picture."""
        from PIL import Image

        self._append(("task", after, name, value) for name, value in values.items())
        Image.fromarray(matrix).save(self._folder / f"matrix-after-{after}.png")

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Write the summary of a finished run."""
        if summary is not None:
            self._write("summary.json", summary)

    def _append(self, rows: Iterable[tuple[str, int, str, float]]) -> None:
        with Path(self._path).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
