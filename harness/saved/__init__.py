"""The model of a finished run, as it was evaluated. Importing this package imports no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.saved.load import load_run as load_run
    from harness.saved.saved_run import SavedRun as SavedRun

__all__ = ["SavedRun", "load_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'harness.saved' has no attribute {name!r}")
    module = "load" if name == "load_run" else "saved_run"
    return getattr(importlib.import_module(f"harness.saved.{module}"), name)
