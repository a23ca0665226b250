"""TensorBoard event files in the folder of the run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update, flat
from models.files import remove_named


class TensorboardLogger(Logger):
    """Scalars over updates (`train/`) and over trained tasks (the others), the matrix as an image, settings as text.

    `tensorboard --logdir results` shows all runs. A continued run adds a file to the same folder.
    """

    libraries = ("tensorboard",)
    install = 'pip install "perennial[log]"'

    def start(self, run: LoggedRun) -> None:
        """Open an event file."""
        from torch.utils.tensorboard import SummaryWriter

        if not run.resumed:
            remove_named(run.folder, r"events\.out\.tfevents\..*")
        self._config = run.config
        self._writer: Any = SummaryWriter(str(run.folder))
        self.place = f"tensorboard --logdir {shlex.quote(str(run.results))}"
        if not run.resumed:
            self._writer.add_text("configuration", f"```json\n{json.dumps(run.config, indent=2)}\n```", 0)
            self._writer.flush()

    def updates(self, rows: Sequence[Update]) -> None:
        """Add scalars."""
        for step, values in rows:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Add scalars and the image."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, after)
        self._writer.add_image("matrix", matrix, after, dataformats="HWC")
        self._writer.flush()

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Add the summary, also to the page of hyperparameters, and close the file."""
        if summary is not None:
            import torch.utils.tensorboard.summary

            values = {f"summary/{name}": value for name, value in summary.items()}
            settings = {name: value for name, value in flat(self._config).items() if isinstance(value, (bool, int, float, str))}
            hparams: Any = torch.utils.tensorboard.summary.hparams
            for record in hparams(settings, values):
                self._writer.file_writer.add_summary(record)
            for name, value in values.items():
                self._writer.add_scalar(name, value)
        self._writer.close()
