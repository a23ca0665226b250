"""Compare the training of every strategy on an accelerator with that on the processor: `python tests/gpu/parity.py`.

Every built-in strategy learns two small domains of the mini edition, 20 updates each: on the processor in float32, on the
device in float32 without TF32, there again with CUDA graphs, and on the device in bf16. Compared are the loss of every update,
as a share of the processor's, and every cell of the accuracy matrix, in points. Without an accelerator, the device is the
processor without oneDNN, which sums in another order.

The runs are shared out to a few processes that stay, so torch is imported and a GPU is opened once per process.

Only the loss of the first task decides, because later tasks begin from weights that rounding has already moved, and an alpha
that is searched on validation images may differ by a step of its grid. Of `finetune` and `zscl` the matrix is checked too.

In bf16, rounding grows where a method learns fast or its loss is small. A bf16 run beyond its limit is therefore compared with
what bf16 does on the processor: it may differ by `BF16_FACTOR` times as much.

Noise, dropout and initial weights are drawn by the processor in all runs (`same_draws.py`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from results import Results

LIMITS = {"fp32": 1e-4, "bf16": 2e-2}
"""Largest difference of a loss from the processor's in float32, as a share of it."""
BF16_FACTOR = 3.0
"""Beyond its limit, a bf16 loss may differ this many times as much as that of the processor's bf16 run (our choice)."""
MATRIX = {"finetune", "zscl"}
MATRIX_LIMITS = {"fp32": 2.0, "bf16": 5.0}
"""Largest difference of an accuracy, in points: one of the 64 images in float32, three in bf16."""
FEW = ("zero-shot", "finetune", "zscl", "lora", "ranpac", "moe-adapters")
"""Strategies of a short try."""
LONG = ("gift", "keep-lora", "moram", "zscl", "zscl-star", "moe-adapters", "diki")
"""Strategies that take longest. They start first."""
CHECKED = {"resume within a task": ("finetune", "zscl"), "microbatch": ("finetune", "zscl"), "out of memory": ("finetune",)}


class Job(NamedTuple):
    """A run of a strategy, or a check of it by name."""

    strategy: str
    kind: tuple[str, str, bool] | tuple[str, str, bool, str]
    check: str | None = None


def do(job: Job) -> Any:
    """Do a job in a process of the pool. Errors are returned as text, so that one job does not end the others."""
    import tiny_runs
    from parity_checks import checked

    tiny_runs.prepare_process()
    kind = tiny_runs.Kind(*job.kind)
    try:
        if job.check is not None:
            return checked(job.check, job.strategy, kind)
        with tempfile.TemporaryDirectory() as folder:
            return tiny_runs.train(tiny_runs.config_of(job.strategy, kind, Path(folder)), kind)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"[-600:]


def compared(strategy: str, precision: str, expected: Any, found: Any, there: Any = None) -> dict[str, Any]:
    """Return the row of a strategy: differences, their limits, and whether they are within them.

    Args:
        strategy: its name.
        precision: of the device's run.
        expected: the processor's run in float32, or an error.
        found: the device's run, or an error.
        there: the processor's run in the same precision, which can only raise the limit.
    """
    row: dict[str, Any] = {"strategy": strategy, "precision": precision}
    errors = [part for part in (expected, found, there) if isinstance(part, str)]
    if errors:
        return {**row, "ok": False, "error": errors[0]}
    from tiny_runs import points, relative

    limit, first = LIMITS[precision], min(expected.losses, default=1)
    try:
        loss = relative(expected.losses.get(first, []), found.losses.get(first, []))
        matrix = points(expected.accuracies, found.accuracies)
        if there is not None:
            row["loss_difference_cpu"] = relative(expected.losses.get(first, []), there.losses.get(first, []))
            limit = max(limit, BF16_FACTOR * row["loss_difference_cpu"])
    except ValueError as error:
        return {**row, "ok": False, "error": str(error)}
    row |= {"updates": len(found.losses.get(first, [])), "loss_difference": loss, "limit": limit, "matrix_points": matrix}
    row["ok"] = loss <= limit and (strategy not in MATRIX or matrix <= MATRIX_LIMITS[precision])
    return {**row, "seconds_cpu": round(expected.seconds, 1), "seconds_device": round(found.seconds, 1)}


def jobs_of(strategies: Sequence[str], device: str) -> list[Job]:
    """Return all jobs, those that take longest first. On a processor only finetune computes in bf16, which is slow there."""
    cuda = device != "cpu"
    # Stable: the order of the others stays.
    ordered = sorted(strategies, key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    checks = [Job(strategy, (device, "fp32", True), name) for name, names in CHECKED.items() for strategy in names]
    jobs = []
    for strategy in ordered:
        jobs += [Job(strategy, ("cpu", "fp32", True)), Job(strategy, (device, "fp32", cuda))]
        if cuda:
            jobs.append(Job(strategy, (device, "fp32", True, "graphs")))
        if cuda or strategy == "finetune":
            jobs.append(Job(strategy, (device, "bf16", True)))
    return [*jobs, *checks]


def finished(jobs: Sequence[Job], workers: int, until: float) -> Iterator[tuple[Job, Any]]:
    """Yield the jobs that were done before `until` (of `time.monotonic`), with their results.

    Jobs that are appended meanwhile are done too. With one worker the jobs are done in this process.
    """
    if workers == 1:
        for job in jobs:
            if time.monotonic() > until:
                return
            yield job, do(job)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        waiting, started = dict[Future[Any], Job](), 0
        while waiting or started < len(jobs):
            waiting |= {pool.submit(do, job): job for job in jobs[started:]}
            started = len(jobs)
            done, _ = wait(waiting, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
            if not done:
                return
            for future in done:
                job = waiting.pop(future)
                yield job, future.result() if future.exception() is None else f"the process ended: {future.exception()}"
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def row_of(other: Job, jobs: list[Job], solved: dict[Job, Any], device: str) -> dict[str, Any] | None:
    """Return the row of a run once all runs that it is compared with are done, None before.

    A bf16 run beyond its limit appends the processor's bf16 run to the jobs.
    """
    first, again = Job(other.strategy, ("cpu", "fp32", True)), Job(other.strategy, ("cpu", "bf16", True))
    if first not in solved or other not in solved or (other == again and device != "cpu"):
        return None
    row = compared(other.strategy, other.kind[1], solved[first], solved[other])
    if other.kind[3:]:
        usual = Job(other.strategy, (device, "fp32", True))
        if usual not in solved:
            return None
        row |= {"precision": "fp32, graphs", "equals_off": _same(solved[usual], solved[other])}
        row["replays"] = getattr(solved[other], "replays", 0)
    if other == again or other.kind[1] != "bf16" or row.get("loss_difference", 0.0) <= LIMITS["bf16"]:
        return row
    if again in solved:
        return compared(other.strategy, "bf16", solved[first], solved[other], solved[again])
    if again not in jobs:
        jobs.append(again)
    return None


def _same(one: Any, other: Any) -> bool:
    """Return whether two runs have the same losses and accuracies."""
    return not isinstance(one, str) and not isinstance(other, str) and bool(one[:2] == other[:2])


def run(
    strategies: Sequence[str], device: str, workers: int, until: float, results: Results, solve: Callable[..., Any] = finished
) -> int:
    """Compare everything and write the results as they come. Return the number of failures."""
    jobs, solved, reported = jobs_of(strategies, device), dict[Job, Any](), set[Job]()
    for job, result in solve(jobs, workers, until):
        solved[job] = result
        if job.check is not None:
            details: dict[str, Any] = {"ok": False, "error": result} if isinstance(result, str) else dict(result)
            results.check(f"{job.check}: {job.strategy}", details.pop("ok"), **details)
            continue
        for other in [each for each in jobs if each.strategy == job.strategy and each.check is None][1:]:
            if other not in reported and (row := row_of(other, jobs, solved, device)) is not None:
                reported.add(other)
                results.add("parity", **row)
                print("ok  " if row["ok"] else "FAIL", *row.values(), flush=True)
    if rows := results.tables.get("parity"):
        rows.sort(key=lambda row: (strategies.index(row["strategy"]), row["precision"] == "bf16", row["precision"]))
    missing = [f"{job.strategy} {job.check or '-'.join(map(str, job.kind[:2]))}" for job in jobs if job not in solved]
    results.check("all runs were done in time", not missing, done=len(solved), of=len(jobs), missing=", ".join(missing))
    return results.failed


def main() -> None:
    """Run all jobs, write the JSON and print a line per comparison. The exit status is the number of failures, at most 100."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--strategies", nargs="+", help="default: all; `few` for one of each kind of training")
    parser.add_argument("--workers", type=int, help="processes (default: one per processor, at most 12)")
    parser.add_argument("--limit-s", type=float, default=3600, help="start nothing after this many seconds")
    parser.add_argument("--json", type=Path, default=Path("gpu-record/parity.json"))
    asked = parser.parse_args()
    until = time.monotonic() + asked.limit_s
    from strategies import TARGETS

    device = asked.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    names = asked.strategies or list(TARGETS)
    names = list(FEW) if names == ["few"] else names
    workers = asked.workers or min(12, len(os.sched_getaffinity(0)))
    sys.exit(min(100, run(names, device, workers, until, Results(asked.json))))


if __name__ == "__main__":
    main()
