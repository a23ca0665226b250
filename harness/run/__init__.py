"""One run: the loop over experiences, its state, checkpoints, resuming and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import lazy

if TYPE_CHECKING:
    from harness.run.loop import RunResult as RunResult
    from harness.run.loop import run as run

__getattr__ = lazy(__name__, {"RunResult": "harness.run.loop", "run": "harness.run.loop"})
