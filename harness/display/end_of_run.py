"""The last lines of a run, after matrix and summary: small test sets, chosen alphas and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.names import SEEN

if TYPE_CHECKING:
    from harness.config.resolve import Resolved
    from metrics.evaluate import Accuracy

FEW_IMAGES = 200
"""With fewer test images, the 95 % interval of an accuracy is up to 14 points wide or wider."""
MAX_INTERVALS = 12

Rows = Mapping[int, "Mapping[tuple[str, str], Accuracy]"]


def end_of_run(note: str, rows: Rows, resolved: Resolved, document: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the lines after the summary and the commands after the record's path.

    Args:
        note: first line.
        rows: accuracy matrix by row, (stream, task) and accuracy.
        resolved: configuration of the run.
        document: content of the run's run.json.
    """
    lines = final_notes(rows, resolved.tasks, resolved.heldout, document.get("searches", ()))
    return [note, *lines], next_commands(str(resolved.identity()["strategy"]), resolved.config.out)


def final_notes(
    rows: Rows,
    tasks: Sequence[str],
    heldout: Sequence[str],
    searches: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Return lines on test sets with few images and on the alphas that the method chose.

    Args:
        rows: accuracy matrix.
        tasks: names of the tasks.
        heldout: names of the held-out domains.
        searches: choices recorded by the method (`Strategy.searches`).
    """
    lines = []
    last = rows[max(rows)]
    keys = [("test", SEEN)] if ("test", SEEN) in last else [("test", task) for task in tasks]
    keys += [("heldout", name) for name in heldout]
    small = [key for key in keys if last[key].n < FEW_IMAGES]
    if small:
        intervals = "; ".join(f"{name} {_interval(last[stream, name])}" for stream, name in small[:MAX_INTERVALS])
        more = f"; and {len(small) - MAX_INTERVALS} more" if len(small) > MAX_INTERVALS else ""
        lines.append(f"final accuracies on fewer than {FEW_IMAGES} test images, with 95 % Wilson intervals: {intervals}{more}")
    chosen = [f"{search['task']} {_alphas(search['chosen'])}" for search in searches if search.get("chosen") is not None]
    if chosen:
        lines.append(f"chosen alpha by task: {', '.join(chosen)}")
    return lines


def next_commands(strategy: str, out: str) -> list[str]:
    """Return follow-up commands of a finished run, ready to paste.

    Args:
        strategy: name of the method on the leaderboard.
        out: results folder.
    """
    other = "finetune" if strategy != "finetune" else "zscl"
    results = "" if out == "results" else f" --results {shlex.quote(out)}"
    root = "" if out == "results" else f" {shlex.quote(out)}"
    return [
        f"next: run the same command with --strategy {other}, then  "
        f"python cli.py compare {shlex.quote(strategy)} {other}{results}",
        f"      all runs as a table:  python cli.py leaderboard{root}      as a page:  python cli.py report{root}",
    ]


def _interval(accuracy: Accuracy) -> str:
    low, high = accuracy.interval()
    return f"{accuracy.percent:.1f} [{low:.0f}, {high:.0f}] (n = {accuracy.n})"


def _alphas(values: Any) -> str:
    """Format the alphas of a search: "0.35", or "0.2 0.4" for several."""
    alphas = values if isinstance(values, (list, tuple)) else [values]
    return " ".join(f"{alpha:.3g}" if isinstance(alpha, float) else str(alpha) for alpha in alphas)
