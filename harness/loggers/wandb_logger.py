"""Weights & Biases, offline unless the user asks for more."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update


class WandbLogger(Logger):
    """A wandb run: offline files in the folder of the run, or with `WANDB_MODE=online` the server that wandb is logged in to.

    `WANDB_DIR`, `WANDB_PROJECT`, `WANDB_ENTITY` and wandb's other variables are respected. The project is the benchmark, the
    group the strategy. A continued run has the same id; offline, it adds a folder that `wandb sync` adds to the same run.
    """

    libraries = ("wandb",)
    install = 'pip install "perennial[log]"'

    def start(self, run: LoggedRun) -> None:
        """Begin or continue the wandb run."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # The attribute access replaces the stand-in of `models.deferred`.
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        folder = os.environ.get("WANDB_DIR") or str(run.folder)
        os.makedirs(folder, exist_ok=True)
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project),
            group=run.strategy,
            name=run.name,
            id=run.id,
            # Offline there is no server to ask.
            resume="allow" if mode == "online" else None,
            mode=mode,
            dir=folder,
            config=dict(run.config),
            # Capturing the output of the process would disturb the live display.
            settings=wandb.Settings(silent=True, console="off"),
        )
        for pattern, axis in (("train/*", "update"), *((f"{kind}/*", "task") for kind in ("accuracy", "heldout", "measure"))):
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(pattern, step_metric=axis)
        self.place = (
            str(self._run.url) if mode == "online" else f"offline; wandb sync {shlex.quote(self._run.settings.sync_dir)}"
        )

    def updates(self, rows: Sequence[Update]) -> None:
        """Log one step of wandb per update, with the number of the update as `update`."""
        for number, values in rows:
            self._run.log({"update": number, **values})

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Log one step of wandb, with the number of trained tasks as `task`."""
        self._run.log({"task": after, **values, "matrix": self._image(matrix)})

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Write the summary and end the run."""
        if summary is not None:
            self._run.summary.update({f"summary/{name}": value for name, value in summary.items()})
        self._run.finish(exit_code=0 if summary is not None else 1)
