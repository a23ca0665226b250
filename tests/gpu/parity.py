"""Compare the training of every strategy on an accelerator with that on the processor: `python tests/gpu/parity.py`.

Every built-in strategy learns two small domains of the mini edition, at most 200 images a split and 20 updates each, once on
the processor and once on `--device`, in float32 without TF32. Compared are the loss of every update, as a share of the
processor's, and every cell of the accuracy matrix, in points. bf16 on the device is compared with float32 on the processor.
Each run is a separate process, so a crash of one says nothing about the others.

The loss of the first task is compared, because later tasks begin from weights that rounding has already moved, and an alpha
that is searched on validation images may differ by a step of its grid.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from strategies import TARGETS as STRATEGIES

ROOT = Path(__file__).parents[2]
TASKS, UPDATES = "digits,nature", 20
LIMITS = {"fp32": 1e-4, "bf16": 2e-2}
"""Largest difference of a loss from the processor's in float32, as a share of it."""


class Job(NamedTuple):
    """One run."""

    strategy: str
    device: str
    precision: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.strategy}-{self.device.replace(':', '')}-{self.precision}"

    def command(self, out: Path) -> list[str]:
        """Return the command that a user would type."""
        words = [
            "bench",
            "stream",
            "--tasks",
            TASKS,
            "--strategy",
            self.strategy,
            "--heldout",
            "none",
            "--limit",
            "200",
            "--quiet",
        ]
        words += ["--set", f"iterations={UPDATES}", "--device", self.device, "--precision", self.precision]
        return [sys.executable, str(ROOT / "cli.py"), *words, "--out", str(out / self.name)]


def losses(folder: Path) -> list[float]:
    """Return the losses of the first task of the run in a folder, update by update."""
    [log] = folder.rglob("train.csv")
    with log.open() as opened:
        return [float(row["loss"]) for row in csv.DictReader(opened) if row["after"] == "1"]


def accuracies(folder: Path) -> dict[tuple[str, str, str], float]:
    """Return the accuracy matrix of the run in a folder: (after, stream, task) -> percent."""
    [log] = folder.rglob("accuracy.csv")
    with log.open() as opened:
        return {(row["after"], row["stream"], row["task"]): float(row["accuracy"]) for row in csv.DictReader(opened)}


def compared(expected: Sequence[float], found: Sequence[float]) -> float:
    """Return the largest difference of losses as a share of the expected ones.

    Raises:
        ValueError: if there is another number of updates.
    """
    if len(expected) != len(found):
        raise ValueError(f"{len(found)} updates, expected {len(expected)}")
    return max((abs(a - b) / max(abs(a), 1e-12) for a, b in zip(expected, found, strict=True)), default=0.0)


def run(job: Job, out: Path) -> dict[str, Any]:
    """Run a job and return how it ended: exit status, seconds and the last lines of its output."""
    began = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(job.command(out), capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    tail = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-12:])
    return {**job._asdict(), "status": ended.returncode, "seconds": round(time.perf_counter() - began, 1), "tail": tail}


def rows(strategies: Sequence[str], device: str, out: Path, ended: dict[Job, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a row per strategy and precision: differences, the limit, and whether it is met."""
    for strategy, precision in product(strategies, LIMITS):
        reference, job = Job(strategy, "cpu", "fp32"), Job(strategy, device, precision)
        row: dict[str, Any] = {"strategy": strategy, "precision": precision, "limit": LIMITS[precision]}
        failed = [each for each in (reference, job) if ended[each]["status"] != 0]
        if failed:
            yield {**row, "ok": False, "error": "; ".join(f"{each.name}: {ended[each]['tail'][-400:]}" for each in failed)}
            continue
        expected, found = losses(out / reference.name), losses(out / job.name)
        before, after = accuracies(out / reference.name), accuracies(out / job.name)
        loss = compared(expected, found)
        points = max(abs(before[cell] - after[cell]) for cell in before)
        zero_shot = max(abs(before[cell] - after[cell]) for cell in before if cell[0] == "0")
        row |= {"updates": len(expected), "loss_difference": loss, "zero_shot_points": zero_shot, "matrix_points": points}
        yield {**row, "ok": loss <= LIMITS[precision], "seconds": ended[job]["seconds"]}


def main() -> None:
    """Run all jobs, write parity.json and print a table. The exit status is the number of failures, at most 100."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--workers", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("gpu-record"))
    asked = parser.parse_args()
    runs = (asked.out / "parity-runs").resolve()
    runs.mkdir(parents=True, exist_ok=True)
    kinds = [("cpu", "fp32"), *((asked.device, precision) for precision in LIMITS)]
    jobs = list(dict.fromkeys(Job(name, *kind) for name, kind in product(asked.strategies, kinds)))
    # The first run makes the pictures that the others read.
    first = run(jobs[0], runs)
    with ThreadPoolExecutor(asked.workers) as pool:
        ended = dict(zip(jobs, [first, *pool.map(lambda job: run(job, runs), jobs[1:])], strict=True))
    table = list(rows(asked.strategies, asked.device, runs, ended))
    (asked.out / "parity.json").write_text(json.dumps({"device": asked.device, "rows": table}, indent=1) + "\n")
    for row in table:
        figures = [f"{row[key]:.2e}" for key in ("loss_difference", "zero_shot_points", "matrix_points") if key in row]
        print(f"{'ok  ' if row['ok'] else 'FAIL'} {row['strategy']:<18} {row['precision']:<5}", *figures, row.get("error", ""))
    failed = sum(not row["ok"] for row in table)
    print(f"{len(table) - failed} of {len(table)} within the limits")
    sys.exit(min(failed, 100))


if __name__ == "__main__":
    main()
