"""MLflow: a local database next to the records, or the user's tracking server."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.loggers.logger import LoggedRun, Logger, Update, flat

MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 500
"""MLflow's limits: metrics and parameters in one call, and the characters of a parameter that every version takes."""
ID = "perennial.id"


class MlflowLogger(Logger):
    """An MLflow run in `OUT/mlflow.db`, with its pictures in `OUT/mlflow`, or wherever `MLFLOW_TRACKING_URI` says.

    The experiment is the benchmark. The step of a metric is the update for `train/`, for others the number of trained tasks.
    """

    libraries = ("mlflow", "sqlalchemy", "alembic")
    install = 'pip install "perennial[log]"'

    def start(self, run: LoggedRun) -> None:
        """Begin the run with its parameters, or find it by its tag and continue it."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # MLflow's defaults wait for minutes for a server that does not answer, and training waits with it.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)

        self._entities = entities
        results, address = run.results.resolve(), os.environ.get("MLFLOW_TRACKING_URI")
        local = address or f"sqlite:///{results / 'mlflow.db'}"
        self.place = address or f"mlflow ui --backend-store-uri {shlex.quote(local)}"
        self._client = MlflowClient(local)
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", run.project), None if address else results)
        if run.resumed and (runs := self._client.search_runs([experiment], f"tags.`{ID}` = '{run.id}'")):
            self._run: str = runs[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {ID: run.id, "strategy": run.strategy}
        self._run = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        parameters = [entities.Param(_name(name), str(value)[:LONGEST]) for name, value in flat(run.config).items()]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + MOST_PARAMETERS])
        self._client.log_dict(self._run, dict(run.config), "config.json")

    def updates(self, rows: Sequence[Update]) -> None:
        """Log metrics in as few calls as MLflow allows."""
        self._log([(name, value, step) for step, values in rows for name, value in values.items()])

    def task(self, after: int, values: Mapping[str, float], matrix: Any) -> None:
        """Log metrics and the picture."""
        self._log([(name, value, after) for name, value in values.items()])
        self._client.log_image(self._run, matrix, artifact_file=f"matrix/after-{after:03d}.png")

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Log the summary and end the run."""
        if summary is not None:
            self._log([(f"summary/{name}", value, 0) for name, value in summary.items()])
        self._client.set_terminated(self._run, "FINISHED" if summary is not None else "KILLED")

    def _log(self, values: Sequence[tuple[str, float, int]]) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(_name(name), value, now, step) for name, value, step in values]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[first : first + MOST_METRICS])

    def _experiment(self, name: str, results: Path | None) -> str:
        """Return the id of an experiment, which is made if it does not exist. Another process may make it at the same time."""
        from mlflow.exceptions import MlflowException

        if (found := self._client.get_experiment_by_name(name)) is None:
            try:
                return str(self._client.create_experiment(name, None if results is None else (results / "mlflow").as_uri()))
            except MlflowException:
                if (found := self._client.get_experiment_by_name(name)) is None:
                    raise
        return str(found.experiment_id)


def _name(name: str) -> str:
    """Return a name that MLflow takes: letters, digits and _-./ with blanks."""
    return re.sub(r"[^\w.\-/ ]", "_", name)
