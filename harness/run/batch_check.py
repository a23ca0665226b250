"""The check of `--check-batch`: whether predictions depend on the other images of their batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.display.screen import Screen
from harness.run import checkpoint
from harness.run.process_group import leads
from harness.run.run_files import CHECKPOINTS, RECORD
from harness.run.state import RunState, write_json
from models.registry import UserError
from strategies.engine.batch_check import check_batches
from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import StartOver


def check(strategy: Strategy, tests: Sequence[Any], screen: Screen) -> dict[str, Any]:
    """Return the result of `check_batches` for `run.json`, and show it in one sentence."""
    result = check_batches(strategy, tests)
    text = sentence(result)
    if result["dependent"]:
        screen.say(f"warning: {text} The leaderboard marks this run.", style="yellow")
    else:
        screen.say(f"batch check: {text}")
    return result


def sentence(result: Mapping[str, Any]) -> str:
    """Return the result of a check in one sentence."""
    passes = result["passes"]
    if not result["dependent"]:
        ties = max(each["changed"] for each in passes)
        rounding = f"; rounding decides {ties} near ties" if ties else ""
        kinds = ", ".join(each["batches"] for each in passes)
        return f"no prediction of {result['images']:,} test images depends on its batch ({kinds}{rounding})."
    worst = max(passes, key=lambda each: each["dependent"])
    count = f"{worst['dependent']:,} of {worst['images']:,} predictions"
    return f"{count} depend on the other images of their batch (changed by: {worst['batches']})."


def missing(document: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a finished run has no check yet.

    Raises UserError if it has no checkpoint to make it from.
    """
    if "batch_check" in document:
        return False
    if checkpoint.latest(folder / CHECKPOINTS) is None:
        raise UserError(f"{folder} has no checkpoint, so the finished run cannot be checked. --fresh repeats the run.")
    return True


def add_to_finished(
    state: RunState,
    document: dict[str, Any],
    strategy: Strategy,
    plugins: Mapping[str, Any],
    streams: Mapping[str, Sequence[Any]],
    screen: Screen,
) -> None:
    """Check a finished run from its checkpoint, and add the result to its record.

    Raises UserError if the method does not save everything that it needs.
    """
    strategy.prepare_run()
    try:
        state.restore(strategy, plugins, list(streams["train"]))
    except StartOver as error:
        raise UserError(
            "The checkpoint does not hold the whole state of the method, so the finished run cannot be checked. --fresh "
            "--check-batch repeats the run."
        ) from error
    document["batch_check"] = check(strategy, [*streams["test"], *streams["heldout"]], screen)
    if leads():
        write_json(state.folder / RECORD, document)
