"""A run that cannot continue because a user's class keeps state that its checkpoint does not hold."""

from __future__ import annotations

import dataclasses
import shutil
from typing import Any

from torch import Tensor

from harness.config.resolve import Resolved
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run import process_group as parallel
from models.registry import UserError
from strategies.engine.unsaved_state import OwnState, StartOver

HOW = "return it from `state` and restore it in `load`"
WITHIN = "return it from `task_state` and restore it in `load_task`"


def start_over(resolved: Resolved, error: StartOver, screen: Screen) -> RunConfig:
    """Say what the checkpoint lacks, and return the configuration that runs without it: from the first task, or from the
    beginning of the interrupted one.

    Raises UserError in a run of several processes, which cannot agree on it here.
    """
    names, how = " and ".join(error.names), WITHIN if error.within else HOW
    lost = (
        f"{names} changed before the interruption and the checkpoint does not hold its value. To continue such a run, {how} "
        f"(`python cli.py check {resolved.config.strategy}` tests it)."
    )
    if parallel.processes() > 1:
        raise UserError(f"This run cannot continue: {lost} --fresh starts over.")
    if error.within:
        screen.say(f"warning: the interrupted task starts again at its beginning: {lost}", style="yellow")
        shutil.rmtree(resolved.folder / "checkpoint" / "within", ignore_errors=True)
        return resolved.config
    screen.say(f"warning: this run starts over from the first task: {lost}", style="yellow")
    return dataclasses.replace(resolved.config, fresh=True)


def load_weights(strategy: Any, weights: dict[str, Tensor]) -> None:
    """Restore the encoder's weights. Raises StartOver for parameters that the method has added to it and not made again."""
    there = strategy.encoder.state_dict().keys()
    if differing := sorted(there ^ weights.keys()):
        raise StartOver([f"encoder.{name}" for name in differing], within=False)
    strategy.encoder.load_state_dict(weights)


def not_saved(own_state: OwnState) -> str | None:
    """A warning after the first task, for attributes that a continued run would lack; None if there are none."""
    if not (names := own_state.unsaved()):
        return None
    return (
        f"{' and '.join(names)} changed during the task and `state` does not return it, so this run starts over from the first "
        "task if it is interrupted (docs/method.md)"
    )
