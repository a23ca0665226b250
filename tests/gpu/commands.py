"""Run commands once on this device, in one process: `python tests/gpu/commands.py --work DIR`.

`bench` with a log, `--plan`, `export` to open_clip with its own check, and the loaded model's accuracies against the record.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from results import Results

import cli

BENCH = (
    "bench",
    "stream",
    "--tasks",
    "digits,nature",
    "--heldout",
    "none",
    "--strategy",
    "zscl",
    "--limit",
    "60",
    "--measure-n",
    "32",
)
OPTIONS = ("iterations=5", "batch_size=16", "reference_batch=16")


def timed(results: Results, name: str, call: Callable[[], bool]) -> bool:
    """Add a check: whether a call returns true, and its seconds. An error is a check that was not passed."""
    began, error = time.perf_counter(), None
    try:
        ok = call()
    except (Exception, SystemExit) as raised:
        ok, error = False, f"{type(raised).__name__}: {raised}"[:600]
    more = {} if error is None else {"error": error}
    return results.check(name, ok, seconds=round(time.perf_counter() - began, 1), **more)


def main() -> None:
    """Run everything and write what worked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results = Results(asked.json)
    words = [*BENCH, "--set", *OPTIONS, "--device", asked.device, "--out", str(asked.work / "results")]
    timed(results, "bench --log csv", lambda: cli.main([*words, "--log", "csv", "--quiet"]) == 0)
    folders = [path.parent for path in (asked.work / "results").rglob("run.json")]
    if folders:
        folder = folders[0]
        timed(results, "the log has every loss", lambda: _logged(folder))
        out = asked.work / "model"
        export = ["export", str(folder), "--to", "open_clip", "--out", str(out), "--check-images", "20", "--quiet"]
        timed(results, "export --to open_clip", lambda: cli.main(export) == 0 and any(out.iterdir()))
        timed(results, "load_run evaluates as the run did", lambda: _same(folder, asked.device))
    timed(results, "bench --plan", lambda: cli.main([*words[:-1], str(asked.work / "planned"), "--plan"]) == 0)
    raise SystemExit(min(100, results.failed))


def _logged(folder: Path) -> bool:
    [log] = folder.rglob("scalars.csv")
    losses = sum("loss" in line for line in log.read_text(encoding="utf-8").splitlines())
    return losses >= 10


def _same(folder: Path, device: str) -> bool:
    import perennial
    from harness.records.files import read_csv

    cells = perennial.load_run(folder, device=device).evaluate()
    rows = [row for row in read_csv(folder / "accuracy.csv") if row["after"] == "2"]
    return {(row["stream"], row["task"]): int(row["correct"]) for row in rows} == {
        cell: of.correct for cell, of in cells.items()
    }


if __name__ == "__main__":
    main()
