"""What a run says at its end besides matrix and summary: intervals of few test images, chosen alphas, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.names import SEEN

FEW_IMAGES = 200
"""Below so many test images an accuracy's 95 % interval is wider than about 14 points at its widest."""
MOST = 12


def end_of_run(note: str, rows: Any, resolved: Any, document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the note with the `final_notes` of a run, and its `next_commands`. `document` is its run.json."""
    lines = final_notes(rows, resolved.tasks, resolved.heldout, document.get("searches", ()))
    return [note, *lines], next_commands(str(resolved.identity()["strategy"]), resolved.config.out)


def final_notes(
    rows: Mapping[int, Mapping[tuple[str, str], Any]],
    tasks: Sequence[str],
    heldout: Sequence[str],
    searches: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return the lines on few images and on what the method chose.

    `rows` is the accuracy matrix, `searches` what a method records of its choices (`strategies.engine.choices`).
    """
    lines = []
    last = rows[max(rows)]
    keys = [("test", SEEN)] if ("test", SEEN) in last else [("test", task) for task in tasks]
    keys += [("heldout", name) for name in heldout]
    few = [key for key in keys if last[key].n < FEW_IMAGES]
    if few:
        said = [f"{name} {_interval(last[stream, name])}" for stream, name in few[:MOST]]
        more = f"; and {len(few) - MOST} more" if len(few) > MOST else ""
        lines.append(f"few test images, so wide 95 % intervals (Wilson) at the end: {'; '.join(said)}{more}")
    if searches:
        chosen = [f"{search['task']} {_chosen(search['chosen'])}" for search in searches if search.get("chosen") is not None]
        if chosen:
            lines.append(f"chosen alpha by task: {', '.join(chosen)}")
    return lines


def next_commands(strategy: str, out: str) -> list[str]:
    """Return the commands that a finished run leads to, ready to paste.

    Args:
        strategy: the method's name on the leaderboard.
        out: the results folder.
    """
    other = "finetune" if strategy != "finetune" else "zscl"
    results = "" if out == "results" else f" --results {shlex.quote(out)}"
    root = "" if out == "results" else f" {shlex.quote(out)}"
    return [
        f"next: the same command with --strategy {other}, then  python cli.py compare {shlex.quote(strategy)} {other}{results}",
        f"      all runs:  python cli.py leaderboard{root}      as a page:  python cli.py report{root}",
    ]


def _interval(cell: Any) -> str:
    low, high = cell.interval()
    return f"{cell.percent:.1f} [{low:.0f}, {high:.0f}] of {cell.n}"


def _chosen(values: Any) -> str:
    """A search's alphas: "0.35", or "0.2 0.4" of several."""
    listed = values if isinstance(values, (list, tuple)) else [values]
    return " ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in listed)
