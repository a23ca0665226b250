"""Loggers of a run: TensorBoard, wandb, trackio, MLflow, CSV files, and those of users. Imports nothing heavy.

logger          the base class of every logger
run_log         hands a run over to its loggers
live_updates    the Avalanche plugin that hands over updates while a task is trained
matrix_image    the accuracy matrix as pixels
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

from harness.loggers.logger import LoggedRun as LoggedRun
from harness.loggers.logger import Logger as Logger
from models.registry import Registry, UserError

TARGETS = {
    "tensorboard": "harness.loggers.tensorboard_logger:TensorboardLogger",
    "wandb": "harness.loggers.wandb_logger:WandbLogger",
    "trackio": "harness.loggers.trackio_logger:TrackioLogger",
    "mlflow": "harness.loggers.mlflow_logger:MlflowLogger",
    "csv": "harness.loggers.csv_logger:CsvLogger",
}
LOGGERS = Registry("logger", TARGETS, entry_points="perennial.loggers")


def logger_class(name: str) -> type[Logger]:
    """Return the class of a registered logger.

    Raises UserError for an unknown name, an object that is not a logger, and a library that is not installed.
    """
    kind: Any = LOGGERS.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Logger)):
        raise UserError(f"The logger {name!r} is not a subclass of harness.loggers.Logger but {kind!r}.")
    check_libraries(name, kind)
    return kind


def check_libraries(name: str, kind: type[Logger]) -> None:
    """Raise UserError with the command that installs what a logger lacks."""
    if missing := [library for library in kind.libraries if not _installed(library)]:
        raise UserError(f"--log {name} needs {' and '.join(missing)}, which is not installed: {kind.install}.")


def check_loggers(names: Iterable[str]) -> None:
    """Check registered loggers by name. Raises UserError as `logger_class` does."""
    for name in names:
        logger_class(name)


def _installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):
        return False
