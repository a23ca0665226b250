"""trackio: Hugging Face's local tracker with the calls of wandb."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update


class TrackioLogger(Logger):
    """A trackio run, in trackio's own folder (`TRACKIO_DIR`), so that its dashboard finds it. Nothing is served or sent.

    With `TRACKIO_SPACE_ID` or `TRACKIO_SERVER_URL`, trackio sends the run there. trackio has one axis of steps per run: updates
    are logged at their number, and the evaluation after a task at the number of the last update, with the task as `task`.
    """

    libraries = ("trackio",)
    install = 'pip install "perennial[trackio]"'

    def start(self, run: LoggedRun) -> None:
        """Begin or continue the trackio run, whose name ends with the id, because trackio continues runs by name."""
        import trackio

        self._image = trackio.Image
        self._step = run.updates
        with _silent():
            self._run = trackio.init(
                project=run.project,
                name=f"{run.name}-{run.id}",
                group=run.strategy,
                config=dict(run.config),
                resume="allow" if run.resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        self.place = remote or f'trackio show --project "{run.project}"'

    def updates(self, rows: Sequence[Update]) -> None:
        """Log each update at its number."""
        for number, values in rows:
            self._run.log(dict(values), step=number)
            self._step = number

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Log the values and the picture at the last update."""
        self._run.log({"task": after, **values, "matrix": self._image(matrix)}, step=self._step)

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Log the summary, and wait until everything is written."""
        if summary is not None:
            self._run.log({f"summary/{name}": value for name, value in summary.items()}, step=self._step)
        with _silent():
            self._run.finish()


def _silent() -> contextlib.AbstractContextManager[Any]:
    """Drop what trackio prints, which would disturb the live display and break --quiet."""
    return contextlib.redirect_stdout(io.StringIO())
