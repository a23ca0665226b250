"""`check FILE.py:Class`: does a method survive an interruption, and does it work under every protocol?"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.flags import add_flags, add_output, read_flags
from harness.config.options import merged
from harness.config.run_config import RunConfig

FLAGS = ("plugins", "tuning", "options", "device")
TASKS = ("letters", "nature", "shapes")
SHORT = {"iterations": 6, "epochs": 0, "batch_size": 8, "warmup": 1, "lr": 1e-3}
TABLES = ("accuracy.csv", "train.csv", "measures.csv")


class Finding(NamedTuple):
    """What one check found: whether it passed, and a sentence."""

    passed: bool
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `check` to its parser."""
    parser.description = (
        "Run a method on a short stream of three small tasks: without a pause, interrupted between and within tasks, and under "
        "each protocol. Compare every number of the interrupted runs with those of the run without a pause."
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
    options = merged(SHORT, flags.pop("options", {}))
    config = RunConfig(
        "stream",
        arguments.strategy,
        tasks=TASKS,
        heldout=(),
        limit=80,
        measures=("iimm",),
        measure_n=8,
        options=options,
        **flags,
    )
    check_names(config).check()
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch and Avalanche ...", style="dim")
    from harness.config.user_file import no_silent_end
    from harness.run.failures import expected

    failed = False
    with expected(), no_silent_end(), tempfile.TemporaryDirectory(prefix="perennial-check-") as folder:
        try:
            for finding in findings(replace(config, out=folder)):
                failed = failed or not finding.passed
                if not arguments.quiet or not finding.passed:
                    screen.say(
                        f"{'pass' if finding.passed else 'FAIL'}  {finding.text}", style=None if finding.passed else "red"
                    )
        except KeyboardInterrupt as error:
            complain("interrupted; the runs of a check are not kept.")
            return getattr(error, "status", 130)
    if not failed:
        screen.say(f"{arguments.strategy} passed: an interrupted run ends with the numbers of a run in one go")
    return int(failed)


def findings(config: RunConfig) -> Iterator[Finding]:
    """The checks of a configuration, one after another; its `out` is a folder for their records."""
    out = Path(config.out)
    whole, _ = _record(replace(config, checkpoint_minutes=0), out / "whole")
    yield Finding(True, "a run in one go: hooks, loss and evaluation work")
    yield _resumed(config, whole, out / "between", last=True)
    yield _resumed(config, whole, out / "within", last=False)
    for protocol in ("class", "agnostic"):
        _record(replace(config, protocol=protocol, options={**config.options, "iterations": 1}), out / protocol)
        yield Finding(True, f"protocol {protocol}: evaluation works")


def _resumed(config: RunConfig, whole: Path, out: Path, last: bool) -> Finding:
    """Interrupt a run before its last task (`last`) or after three updates of it, continue it, and compare the records."""
    when = "interrupted between two tasks" if last else "interrupted within a task"
    minutes = 0 if last else 1e-9
    config = replace(config, checkpoint_minutes=minutes)
    try:
        _record(config, out, _Watcher(stop_at=(len(TASKS), 0 if last else 3)))
    except Interrupted:
        pass
    else:
        return Finding(True, f"{when}: nothing to interrupt, the method does not train")
    folder, said = _record(config, out)
    restarts = [line.partition("warning: ")[2] for line in said if "starts over" in line or "starts again" in line]
    differences = compare(whole, folder)
    if differences and (again := compare(whole, _record(replace(config, checkpoint_minutes=0), out / "again")[0])):
        seeded = "Draw random numbers from torch, NumPy or random, which are seeded."
        return Finding(False, f"two runs in one go differ: {'; '.join(again)}. {seeded}")
    if differences:
        return Finding(False, f"{when}: the continued run differs: {'; '.join(differences)}. {HINT}")
    if restarts:
        return Finding(False, f"{when}: {restarts[0]}")
    if not last and not any("continuing after update" in line for line in said):
        return Finding(True, f"{when}: starts the task again, with the same numbers (no task_state)")
    return Finding(True, f"{when}: continues with the same numbers")


HINT = (
    "Something changes in a run that `state` and `load` do not carry over and that cannot be seen, such as data of another "
    "module or of a library."
)


class Interrupted(BaseException):
    """Ends a run as a kill would."""


class _Watcher:
    """Where to interrupt a run: before the first update of a task (from 1), or after so many updates of it."""

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
    """Run a configuration into a folder: where its record is, and what it said."""
    from harness.display.screen import Screen
    from harness.run.loop import run

    said: list[str] = []

    class Silent(Screen):
        """Keep what is said, and interrupt the run where the watcher says so."""

        def say(self, message: str, style: str | None = None) -> None:
            said.append(message)

        def stage(self, kind: str, task: str, amount: int) -> None:
            if watcher is not None:
                watcher.stage(kind)

        def advance(self, kind: str, amount: int) -> None:
            if watcher is not None:
                watcher.advance(kind)

    return run(replace(config, out=str(out)), Silent(quiet=True)).folder, said


def compare(one: Path, other: Path) -> list[str]:
    """What differs between the records of two runs: tables, weights and the state of the method."""
    import torch
    from safetensors.torch import load_file

    found = []
    for name in TABLES:
        lines = [(folder / name).read_text(encoding="utf-8").splitlines() for folder in (one, other)]
        for number, (a, b) in enumerate(zip(*lines, strict=False), start=1):
            if a != b:
                found.append(f"{name} line {number} is {b}, not {a}")
                break
        else:
            if len(lines[0]) != len(lines[1]):
                found.append(f"{name} has {len(lines[1])} lines, not {len(lines[0])}")
    for name in ("encoder.safetensors", "strategy.safetensors"):
        a, b = (load_file(next((folder / "checkpoint").glob(f"after-*/{name}"))) for folder in (one, other))
        if a.keys() != b.keys() or any(not torch.equal(a[key], b[key]) for key in a):
            found.append("the weights" if name.startswith("encoder") else "the tensors of `state`")
    a, b = (_state(folder) for folder in (one, other))
    return [*found, *(["the values of `state`"] if a != b else [])]


def _state(folder: Path) -> dict[str, Any]:
    path = next((folder / "checkpoint").glob("after-*/strategy.json"))
    state = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in state.items() if name != "attributes"}
