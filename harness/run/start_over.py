"""Restart a run, or its interrupted task, if a user's class keeps state that the checkpoint does not hold."""

from __future__ import annotations

import dataclasses

from harness.config.resolve import Resolved
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run import checkpoint, process_group
from harness.run.run_files import CHECKPOINTS, MID_TASK
from models.registry import UserError
from strategies.engine.unsaved_state import OwnState, StartOver


def start_over(resolved: Resolved, error: StartOver, screen: Screen) -> RunConfig:
    """Report what the checkpoint lacks, and return the configuration to run next.

    That run starts from the first task, or from the beginning of the interrupted task if only the checkpoint within it lacks
    state. Raises UserError for several processes, which cannot agree on a restart here.
    """
    state, load = ("task_state", "load_task") if error.within else ("state", "load")
    reason = (
        f"{' and '.join(error.names)} changed before the interruption and the checkpoint does not hold its value. To continue "
        f"such a run, return it from `{state}` and restore it in `{load}` "
        f"(`python cli.py check {resolved.config.strategy}` tests it)."
    )
    if process_group.processes() > 1:
        raise UserError(f"This run cannot continue: {reason} --fresh starts over.")
    if error.within:
        screen.say(f"warning: the interrupted task starts again at its beginning: {reason}", style="yellow")
        checkpoint.clear(resolved.folder / CHECKPOINTS / MID_TASK, resolved.key)
        return resolved.config
    screen.say(f"warning: this run starts over from the first task: {reason}", style="yellow")
    return dataclasses.replace(resolved.config, fresh=True)


def unsaved_warning(own_state: OwnState) -> str | None:
    """Return a warning about attributes of a user's class that a resumed run would lack, or None."""
    if not (names := own_state.unsaved()):
        return None
    return (
        f"{' and '.join(names)} changed during the task and `state` does not return it, so this run starts over from the first "
        "task if it is interrupted (docs/method.md)"
    )
