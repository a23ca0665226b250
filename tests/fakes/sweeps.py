"""Runs of a sweep that execute a script instead of `bench`."""

import json
import sys
from pathlib import Path

from harness.sweep.grid import Run

FAKE = Path(__file__).parent / "sweep_run.py"


def make(folder, *whats, seconds=0.02):
    """Return runs of the script, each with four steps of this many seconds."""
    return [
        Run(what, "I", seed, folder / f"{what}-{seed}", folder / "logs" / f"{what}-{seed}.log", ("4", str(seconds), what))
        for seed, what in enumerate(whats)
    ]


def command(run, fresh, device):
    extra = [*(["--fresh"] if fresh else []), *(["--device", device] if device else [])]
    return [sys.executable, "-S", str(FAKE), str(run.folder), *run.arguments, *extra]


def attempts(run):
    file = run.folder / "attempts.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
