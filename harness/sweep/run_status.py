"""How far each run is: read from its record, its lock and its log, from nowhere else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.records.files import read_json, reading
from harness.records.run_json import expect
from harness.records.runs import read_one
from harness.records.titles import METRIC_TITLES
from harness.run.locks import NAME as LOCK
from harness.run.locks import at_work, holder
from harness.sweep.grid import Run
from models.files import open_file
from models.registry import UserError

STATES = ("finished", "running", "interrupted", "failed", "missing")
TRACES = ("run.json", "checkpoint/latest.json")
"""What a run that starts over takes away before it writes its own; while one is as it was, the old results are there."""
SHOWN = ("cil_average", "cil_last"), ("transfer", "average", "last")


class Status(NamedTuple):
    """A name in `STATES`; after how many of how many tasks; its numbers, or what went wrong; seconds of work, if known."""

    state: str
    done: int = 0
    of: int = 0
    note: str = ""
    seconds: float = math.nan


def look(run: Run) -> Status:
    """The state of a run.

    finished: its record says so. running: a process holds its lock. failed: its record says so, cannot be read or contradicts
    itself.
    interrupted: there is something to continue from. missing: there is nothing; the note is how a last attempt ended.
    """
    path = run.folder / "run.json"
    try:
        record = read_json(path) or {}
        with reading(path):
            progress = _part(record, "progress")
            done, of = max(0, round(_number(progress, "after"))), round(_number(progress, "of"))
            seconds = _number(record, "train_seconds") + _number(record, "eval_seconds")
            note = _numbers(_part(record, "summary"))
    except (UserError, OSError) as error:
        return Status("running" if at_work(run.folder) else "failed", note=str(error))
    if record.get("status") == "finished":
        try:
            if "identity" in record:
                read_one(path)
        except UserError as error:
            return Status("failed", done, of, str(error))
        return Status("finished", done, of, note, seconds)
    if at_work(run.folder):
        return Status("running", done, of, _elsewhere(run.folder))
    if record.get("status") == "failed":
        return Status("failed", done, of, str(record.get("error") or ""))
    if record or (run.folder / "checkpoint" / "latest.json").is_file():
        return Status("interrupted", done, of)
    said = last_line(run.log)
    return Status("missing", note=f"last attempt: {said}" if said else "")


def _elsewhere(folder: Path) -> str:
    """Return who holds the lock of a folder where that cannot be seen to run here, and what to do about it."""
    who = holder(folder)
    return "" if who is None or who.is_here else f"{who}; if it does not run any more, remove {folder / LOCK}"


def traces(run: Run) -> dict[str, tuple[int, int]]:
    """Which of `TRACES` are there: inode and time of change (ns), so that a file written anew is another one."""
    found = {}
    for name in TRACES:
        try:
            there = (run.folder / name).stat()
        except OSError:
            continue
        found[name] = there.st_ino, there.st_mtime_ns
    return found


def counts(states: Iterable[str]) -> str:
    """ "3 finished, 1 failed"."""
    found = Counter(states)
    order = (*STATES, *(state for state in found if state not in STATES))
    return ", ".join(f"{found[state]} {state}" for state in order if found[state])


def last_line(log: Path) -> str:
    """What a process said last: the end of its log, without the program's name."""
    try:
        with open_file(log) as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip().removeprefix("perennial: ") for line in reversed(lines) if line.strip()), "")


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a record, empty where it is not there. Raises ValueError for what is none."""
    expect(name, record.get(name), dict, type(None))
    return record.get(name) or {}


def _number(record: Mapping[str, Any], name: str) -> float:
    """A number of a record, 0 where it is not there. Raises ValueError for what is none."""
    expect(name, record.get(name), int, float, type(None))
    return record.get(name) or 0


def _numbers(summary: Mapping[str, Any]) -> str:
    cil, others = SHOWN
    keys = cil if any(summary.get(key) is not None for key in cil) else others
    return ", ".join(f"{METRIC_TITLES[key]} {_number(summary, key):z.1f}" for key in keys if summary.get(key) is not None)
