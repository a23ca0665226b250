"""Read how far each run is from its record, its lock and its log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.records.run_json import read_run
from harness.records.runs import read_one
from harness.records.titles import METRIC_TITLES
from harness.run.locks import NAME as LOCK
from harness.run.locks import at_work, holder
from harness.run.run_files import CHECKPOINTS, LATEST, RECORD
from harness.sweep.grid import Run
from models.files import open_file
from models.registry import UserError

STATES = ("finished", "running", "interrupted", "failed", "missing")
RESULT_FILES = (RECORD, f"{CHECKPOINTS}/{LATEST}")
"""Files that a run which starts over removes before it writes its own."""
SHOWN_METRICS = ("transfer", "average", "last")
SHOWN_CIL_METRICS = ("cil_average", "cil_last")
Stamp = tuple[int, int]
"""Inode and time of change (ns) of a file. A rewritten file has another stamp."""


class Status(NamedTuple):
    """The state of a run, one of `STATES`, and its progress.

    `done` of `total` tasks are finished. `note` holds the numbers of the run, or the reason of a failure. `seconds` is the time
    it has worked, NaN if that is unknown.
    """

    state: str
    done: int = 0
    total: int = 0
    note: str = ""
    seconds: float = math.nan


def status_of(run: Run) -> Status:
    """Return the status of a run.

    - finished: the record says so.
    - running: a process holds the lock.
    - failed: the record says so, cannot be read or contradicts itself.
    - interrupted: there is something to continue from.
    - missing: there is nothing. The note says how the last attempt ended.
    """
    path = run.folder / RECORD
    try:
        document = read_run(path)
    except (UserError, OSError) as error:
        return Status("running" if at_work(run.folder) else "failed", note=str(error))
    progress = (document or {}).get("progress") or {}
    done, total = int(progress.get("after") or 0), int(progress.get("of") or 0)
    done = max(0, done)
    if document is not None and document["status"] == "finished":
        try:
            read_one(path)
        except UserError as error:
            return Status("failed", done, total, str(error))
        seconds = (document.get("train_seconds") or 0) + (document.get("eval_seconds") or 0)
        return Status("finished", done, total, _metrics(document["summary"]), seconds)
    if at_work(run.folder):
        return Status("running", done, total, _holder_elsewhere(run.folder))
    if document is not None and document["status"] == "failed":
        return Status("failed", done, total, str(document.get("error") or ""))
    if document is not None or (run.folder / CHECKPOINTS / LATEST).is_file():
        return Status("interrupted", done, total)
    line = last_line(run.log)
    return Status("missing", note=f"last attempt: {line}" if line else "")


def stamps(run: Run) -> dict[str, Stamp]:
    """Return the stamps of the `RESULT_FILES` that exist."""
    found = {}
    for name in RESULT_FILES:
        try:
            stat = (run.folder / name).stat()
        except OSError:
            continue
        found[name] = stat.st_ino, stat.st_mtime_ns
    return found


def counts(states: Iterable[str]) -> str:
    """Return how many runs are in each state: "3 finished, 1 failed"."""
    counter = Counter(states)
    order = (*STATES, *(state for state in counter if state not in STATES))
    return ", ".join(f"{counter[state]} {state}" for state in order if counter[state])


def last_line(log: Path) -> str:
    """Return the last line of a log, without the program's name."""
    try:
        with open_file(log) as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip().removeprefix("perennial: ") for line in reversed(lines) if line.strip()), "")


def _holder_elsewhere(folder: Path) -> str:
    """Return who holds the lock of a folder and what to do, if the process cannot be seen to run on this machine."""
    process = holder(folder)
    return "" if process is None or process.is_here else f"{process}; if it no longer runs, remove {folder / LOCK}"


def _metrics(summary: Mapping[str, Any]) -> str:
    """Return the main metrics of a summary: "Transfer 60.0, Average 61.0, Last 62.0"."""
    names = SHOWN_CIL_METRICS if any(summary.get(name) is not None for name in SHOWN_CIL_METRICS) else SHOWN_METRICS
    return ", ".join(f"{METRIC_TITLES[name]} {summary[name]:z.1f}" for name in names if summary.get(name) is not None)
