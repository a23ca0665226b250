"""A logger that logs nothing: Avalanche warns when there is none at all."""

from __future__ import annotations

from typing import Any

from avalanche.logging import BaseLogger


class NoLogger(BaseLogger):
    """Logs nothing."""

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        pass
