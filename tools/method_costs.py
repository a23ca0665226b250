"""Measure what each method costs after training, against the plain model: `python -m tools.method_costs RUN...`.

The finished runs in the folders are loaded (`harness.saved`), one per strategy, and the time from a test image's pixels to its
logits is measured in batches of 64 images of all tasks. Times of all methods are taken in turn, in
several rounds, and the shortest counts, so that other work on the machine disturbs them least. The table is
reference_data/tables/method_costs.csv.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from harness.records.runs import Run

TABLE = Path(__file__).parent.parent / "reference_data" / "tables" / "method_costs.csv"
COLUMNS = ("strategy", "trained", "stored_per_task", "test_ms_per_image", "ratio", "revision", "measured", "machine")
PLAIN = "zero-shot"
ROUNDS = 15


def chosen(runs: list[Run]) -> dict[str, Run]:
    """Return the first run of each strategy. Raises SystemExit if the plain model is not among them."""
    by_name: dict[str, Run] = {}
    for run in runs:
        by_name.setdefault(str(run.identity["strategy"]), run)
    if PLAIN not in by_name:
        raise SystemExit(f"There is no run of {PLAIN} among them, to which the others are compared.")
    return by_name


def main() -> None:
    """Measure all methods and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.method_costs", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of finished runs, one per strategy")
    parser.add_argument("--machine", default=platform.processor() or platform.machine(), help="the machine, for the table")
    arguments = parser.parse_args()

    from harness.records.files import write_csv
    from harness.run import costs
    from harness.run.version import git_revision
    from harness.saved import SavedRun, load_run
    from harness.saved.benchmark import benchmark_of
    from harness.saved.record import find_run

    runs = chosen([find_run(folder) for folder in arguments.runs])
    loaded: dict[str, tuple[SavedRun, Any]] = {}
    for name, run in track(runs.items(), description="loading", console=Console(stderr=True)):
        saved = load_run(run.folder)
        loaded[name] = saved, benchmark_of(saved.run, saved.config, saved.encoder).streams["test"]
    times: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in track(range(ROUNDS), description="measuring", console=Console(stderr=True)):
        for name, (saved, tests) in loaded.items():
            times[name].append(costs.milliseconds_per_image(saved.strategy, tests))
    plain = min(times[PLAIN])
    rows = [
        {
            "strategy": name,
            "trained": saved.record["trainable_params"],
            "stored_per_task": round(saved.record["stored_per_task"]),
            "test_ms_per_image": f"{min(times[name]):.3f}",
            "ratio": f"{min(times[name]) / plain:.2f}",
            "revision": str(git_revision())[:7],
            "measured": datetime.date.today().isoformat(),
            "machine": arguments.machine,
        }
        for name, (saved, _) in loaded.items()
    ]
    write_csv(TABLE, COLUMNS, sorted(rows, key=lambda row: float(row["ratio"])))


if __name__ == "__main__":
    main()
