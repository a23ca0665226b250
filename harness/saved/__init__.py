"""The model of a finished run, as it was evaluated: `load_run`."""

from harness.saved.load import load_run as load_run
from harness.saved.saved_run import SavedRun as SavedRun

__all__ = ["SavedRun", "load_run"]
