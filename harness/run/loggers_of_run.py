"""The loggers of one run (`--log`): their classes, what they are told, and the log of a run that has finished before."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.config.resolve import Resolved
from harness.config.user_file import is_file, load_logger
from harness.display.screen import Screen
from harness.loggers import LoggedRun, Logger, check_libraries, logger_class
from harness.loggers.run_log import RunLog, read_progress
from harness.records.files import plain
from harness.run import process_group
from harness.run.locks import locked
from harness.run.run_files import LOG
from harness.run.state import RunState
from models.registry import UserError

DESCRIBED = ("key", "versions", "device", "git_revision", "trainable_params", "parameters", "started")
"""Values of run.json that a logger is told besides the settings."""


def logger_classes(resolved: Resolved) -> dict[str, type[Logger]]:
    """Return the classes of `--log` by name; none in a process that does not lead.

    Raises UserError for a logger that is unknown, cannot be imported or lacks its library, and for two with one name.
    """
    kinds: dict[str, type[Logger]] = {}
    for reference in resolved.config.log if process_group.leads() else ():
        kind = load_logger(reference) if is_file(reference) else logger_class(reference)
        name = kind.__name__ if is_file(reference) else reference
        check_libraries(name, kind)
        if name in kinds:
            raise UserError(f"--log has two loggers called {name}; rename one of the classes.")
        kinds[name] = kind
    return kinds


def make_log(kinds: Mapping[str, type[Logger]], state: RunState, screen: Screen) -> RunLog:
    """Return the loggers of a run whose document is filled."""
    return RunLog(kinds, _description(state.resolved, state.document), state.resolved.tasks, state.resolved.heldout, screen.say)


def log_finished(resolved: Resolved, kinds: Mapping[str, type[Logger]], document: dict[str, Any], screen: Screen) -> None:
    """Hand a finished run over to the loggers that lack a part of it."""
    progress = read_progress(_description(resolved, document))
    missing = {name: kind for name, kind in kinds.items() if not progress.get(name, {}).get("finished")}
    if not missing:
        return
    with suppress(UserError), locked(resolved.folder):
        state = RunState(resolved)
        state.load()
        state.document = document
        with make_log(missing, state, screen) as log:
            log.updates(state.losses)
            log.rows(state.rows, state.measures)
            log.finish(document["summary"])


def _description(resolved: Resolved, document: Mapping[str, Any]) -> LoggedRun:
    described = {name: document[name] for name in DESCRIBED if document.get(name) is not None}
    return LoggedRun(
        id="",
        resumed=False,
        updates=0,
        name=f"{resolved.strategy_slug}-seed{resolved.config.seed}",
        strategy=resolved.strategy_slug,
        project=resolved.folder.parent.name,
        folder=resolved.folder / LOG,
        results=resolved.folder.parent.parent,
        config=plain({**resolved.request, **described}),
    )
