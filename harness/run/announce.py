"""Lines of a run on the screen: the banner and warnings before it, choices of the method, the summary after it."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks import CLScenario

from harness.display.data_summary import print_data_summary
from harness.display.end_of_run import end_of_run
from harness.display.patch_table import patch_tables
from harness.display.screen import Screen
from harness.records.patches import patches
from harness.records.summary import zero_shot_summary
from harness.run.describe import banner, document, short_warmup
from harness.run.state import RunState
from models.encoder import DualEncoder
from strategies.engine.strategy import Strategy


def announce(
    state: RunState, encoder: DualEncoder, strategy: Strategy, scenario: CLScenario, device: torch.device, screen: Screen
) -> None:
    """Show what is about to run and warn of doubts about it. Fill the document of the run."""
    resolved = state.resolved
    screen.banner(*banner(resolved, encoder, strategy, scenario))
    domains = [experience.domain for name in ("test", "heldout") for experience in scenario.streams[name]]
    print_data_summary(domains, screen.say, screen.show, encoder.reader, len(resolved.tasks), scenario.warnings)
    warnings = list(scenario.differences)
    if scenario.differences:
        warnings.append("this is not the paper's data, so the results do not compare with its tables")
    if (short := short_warmup(resolved, strategy, scenario)) is not None:
        warnings.append(short)
    for warning in warnings:
        screen.say(f"warning: {warning}", style="yellow")
    state.document = document(resolved, encoder, strategy, device, scenario)


def report_choices(document: dict[str, Any], strategy: Strategy, screen: Screen) -> None:
    """Show and record a method's `notes` (sentences) and record its `searches` (what it chose by validation)."""
    notes = document.setdefault("notes", [])
    for note in strategy.notes:
        if note not in notes:
            notes.append(note)
            screen.say(f"note: {note}", style="yellow")
    if strategy.searches:
        document["searches"] = list(strategy.searches)


def show_summary(state: RunState, screen: Screen) -> None:
    """Show the matrix and the summary of a finished run, next to the summary of the initial model."""
    screen.end()
    train, evaluate = state.timings["train"], state.timings["evaluate"]
    note = f"training {train:.0f} s, evaluation {evaluate:.0f} s, together {train + evaluate:.0f} s"
    # Row 0 is not a reference if the classes that compete depend on the tasks so far.
    zero_shot = None if state.competes else zero_shot_summary(state.rows, state.resolved.tasks)
    lines, commands = end_of_run(note, state.rows, state.resolved, state.document)
    tables = patch_tables(
        patches(state.document.get("searches")),
        state.resolved.plan.targets,
        state.resolved.retained,
        state.document.get("random_accuracy"),
    )
    screen.summary(state.document["summary"], zero_shot, str(state.folder), lines, commands, tables)
