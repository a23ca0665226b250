"""`check`: check that a method survives an interruption and works under every protocol."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.flags import add_flags, add_output, read_flags
from harness.config.options import merge_options
from harness.config.run_config import RunConfig
from harness.run.run_files import RECORD, TABLES

FLAGS = ("plugins", "tuning", "model", "pretrained", "options", "device")
"""Settings of a run that the user may choose."""
TASKS = ("letters", "nature", "shapes")
SHORT = {"iterations": 6, "epochs": 0, "batch_size": 8, "warmup": 1, "lr": 1e-3}
"""Options of the short runs."""
UNSEEDED = "Draw random numbers from torch, NumPy or random, which are seeded."
UNSAVED = (
    "Something changes during a run that `state` and `load` do not carry over and that the check cannot see, such as data of "
    "another module or of a library."
)


class Finding(NamedTuple):
    """The result of one check: whether it passed, and a sentence."""

    passed: bool
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `check` to its parser."""
    parser.description = (
        "Run a method on a short stream of three small tasks: uninterrupted, interrupted between and within tasks, and under "
        "each protocol. Compare every number of the interrupted runs with those of the uninterrupted one."
    )
    parser.add_argument("strategy", metavar="STRATEGY", help="FILE.py:Class, which is run as code, or a strategy's name")
    add_flags(parser, RunConfig, only=FLAGS)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the checks. Return 0 if all pass, otherwise 1. Raises UserError."""
    from harness.config.resolve import check_names
    from harness.display.console import complain
    from harness.display.screen import Screen

    flags = {name: value for name, value in read_flags(arguments, RunConfig).items() if name in FLAGS}
    options = merge_options(SHORT, flags.pop("options", {}))
    short: dict[str, Any] = {"tasks": TASKS, "heldout": (), "limit": 80, "measures": ("iimm",), "measure_n": 8}
    config = RunConfig("stream", arguments.strategy, options=options, **short, **flags)
    check_names(config).check()
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch and Avalanche ...", style="dim")
    from harness.config.user_file import no_silent_end
    from harness.run.failures import reporting_failures

    failed = False
    with reporting_failures(), no_silent_end(), tempfile.TemporaryDirectory(prefix="perennial-check-") as folder:
        try:
            for finding in findings(replace(config, out=folder)):
                failed = failed or not finding.passed
                if not finding.passed:
                    screen.say(f"FAIL  {finding.text}", style="red")
                elif not arguments.quiet:
                    screen.say(f"pass  {finding.text}")
        except KeyboardInterrupt as error:
            complain("interrupted; the runs of a check are not kept.")
            return getattr(error, "status", 130)
    if not failed:
        screen.say(f"{arguments.strategy} passed: an interrupted run ends with the numbers of an uninterrupted one")
    return int(failed)


def findings(config: RunConfig) -> Iterator[Finding]:
    """Yield the results of the checks of a configuration. Its `out` is a folder for their records."""
    out = Path(config.out)
    whole, _ = _record(replace(config, checkpoint_minutes=0), out / "whole")
    yield Finding(True, "an uninterrupted run: hooks, loss and evaluation work")
    yield _resumed(config, whole, out / "between", between_tasks=True)
    yield _resumed(config, whole, out / "within", between_tasks=False)
    for protocol in ("class", "agnostic"):
        options = {**config.options, "iterations": 1}
        short = replace(config, protocol=protocol, options=options, check_batch=protocol == "agnostic")
        folder, _ = _record(short, out / protocol)
        yield Finding(True, f"protocol {protocol}: evaluation works")
    from harness.run.batch_check import sentence

    result = json.loads((folder / RECORD).read_text(encoding="utf-8"))["batch_check"]
    yield Finding(not result["dependent"], f"batches: {sentence(result)}")


def _resumed(config: RunConfig, whole: Path, out: Path, between_tasks: bool) -> Finding:
    """Interrupt a run before its last task or after three updates of it, continue it, and compare it with `whole`."""
    when = "interrupted between two tasks" if between_tasks else "interrupted within a task"
    config = replace(config, checkpoint_minutes=0 if between_tasks else 1e-9)
    try:
        _record(config, out, _Watcher(stop_at=(len(TASKS), 0 if between_tasks else 3)))
    except Interrupted:
        pass
    else:
        return Finding(True, f"{when}: nothing to interrupt, because the method does not train")
    folder, messages = _record(config, out)
    restarts = [m.partition("warning: ")[2] for m in messages if "starts over" in m or "starts again" in m]
    differences = compare(whole, folder)
    if differences and (again := compare(whole, _record(replace(config, checkpoint_minutes=0), out / "again")[0])):
        return Finding(False, f"two uninterrupted runs differ: {'; '.join(again)}. {UNSEEDED}")
    if differences:
        return Finding(False, f"{when}: the continued run differs: {'; '.join(differences)}. {UNSAVED}")
    if restarts:
        return Finding(False, f"{when}: {restarts[0]}")
    if not between_tasks and not any("continuing after update" in message for message in messages):
        return Finding(True, f"{when}: starts the task again, with the same numbers (no task_state)")
    return Finding(True, f"{when}: continues with the same numbers")


class Interrupted(BaseException):
    """Ends a run as a kill would."""


class _Watcher:
    """Interrupts a run: `stop_at` is the number of a task, from 1, and the number of its updates before the interruption."""

    def __init__(self, stop_at: tuple[int, int] | None = None):
        self.stop_at, self.tasks, self.updates = stop_at, 0, 0

    def stage(self, kind: str) -> None:
        if kind == "train":
            self.tasks, self.updates = self.tasks + 1, 0
            self._stop()

    def advance(self, kind: str) -> None:
        if kind == "train":
            self.updates += 1
            self._stop()

    def _stop(self) -> None:
        if (self.tasks, self.updates) == self.stop_at:
            raise Interrupted


def _record(config: RunConfig, out: Path, watcher: _Watcher | None = None) -> tuple[Path, list[str]]:
    """Run a configuration into a folder. Return the folder of its record and its messages."""
    from harness.display.screen import Screen
    from harness.run.loop import run

    messages: list[str] = []

    class Silent(Screen):
        """Keeps the messages, and interrupts the run where the watcher says so."""

        def say(self, message: str, style: str | None = None) -> None:
            messages.append(message)

        def stage(self, kind: str, task: str, amount: int) -> None:
            if watcher is not None:
                watcher.stage(kind)

        def advance(self, kind: str, amount: int) -> None:
            if watcher is not None:
                watcher.advance(kind)

    return run(replace(config, out=str(out)), Silent(quiet=True)).folder, messages


def compare(one: Path, other: Path) -> list[str]:
    """Return the differences between the records of two runs: in tables, weights and the state of the method."""
    import torch
    from safetensors.torch import load_file

    differences = []
    for name in TABLES:
        lines = [(folder / name).read_text(encoding="utf-8").splitlines() for folder in (one, other)]
        for number, (a, b) in enumerate(zip(*lines, strict=False), start=1):
            if a != b:
                differences.append(f"{name} line {number} is {b}, not {a}")
                break
        else:
            if len(lines[0]) != len(lines[1]):
                differences.append(f"{name} has {len(lines[1])} lines, not {len(lines[0])}")
    for name in ("encoder.safetensors", "strategy.safetensors"):
        a, b = (load_file(next((folder / "checkpoint").glob(f"after-*/{name}"))) for folder in (one, other))
        if a.keys() != b.keys() or any(not torch.equal(a[key], b[key]) for key in a):
            differences.append("the weights" if name.startswith("encoder") else "the tensors of `state`")
    a, b = (_state(folder) for folder in (one, other))
    return [*differences, *(["the values of `state`"] if a != b else [])]


def _state(folder: Path) -> dict[str, Any]:
    """Return the saved values of `state`, without the attributes that the loop watches."""
    path = next((folder / "checkpoint").glob("after-*/strategy.json"))
    state = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in state.items() if name != "attributes"}
