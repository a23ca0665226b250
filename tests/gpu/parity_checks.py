"""Checks of training on a device: resume within a task, chunks of a batch, and the message when memory is full."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tiny_runs import BATCH, UPDATES, Kind, Trained, config_of, points, relative, train

from harness.display.screen import Screen
from harness.run.failures import reporting_failures
from harness.run.loop import run
from strategies.engine.strategy import Strategy

ROUNDING = 1e-4
"""Largest difference, as a share of the loss, that another order of sums may make in 20 updates."""


class Killed(BaseException):
    """The end of a run as if its process had been killed: nothing catches it and nothing is written."""


@contextmanager
def dying(update: int) -> Iterator[None]:
    """Raise Killed in place of the optimiser's step number `update`."""
    original, count = Strategy.optimizer_step, itertools.count(1)

    def step(strategy: Strategy, *args: Any, **kwargs: Any) -> Any:
        if next(count) == update:
            raise Killed
        return original(strategy, *args, **kwargs)

    with patch.object(Strategy, "optimizer_step", step):
        yield


def resume(strategy: str, kind: Kind, out: Path) -> dict[str, Any]:
    """Compare a run that was killed in its second task, and continued, with an unbroken one.

    On a GPU, sums of some kernels may come out differently in two unbroken runs. Then losses are compared to rounding, and
    `bit_exact` says so.
    """
    whole, again = (train(config_of(strategy, kind, out / name), kind) for name in ("whole", "again"))
    config = config_of(strategy, kind, out / "killed", checkpoint_minutes=1e-9)
    try:
        with dying(UPDATES + UPDATES // 2):
            train(config, kind)
    except Killed:
        continued = train(config, kind)
    else:
        return {"ok": False, "error": "the run was not killed"}
    repeatable = whole[:2] == again[:2]
    difference = _largest(whole, continued)
    exact = whole[:2] == continued[:2]
    ok = exact if repeatable else difference <= max(ROUNDING, 2 * _largest(whole, again))
    return {"ok": ok, "bit_exact": exact, "two_unbroken_runs_equal": repeatable, "loss_difference": difference}


def microbatch(strategy: str, kind: Kind, out: Path) -> dict[str, Any]:
    """Compare training on a quarter of the batch at a time with training on the whole batch."""
    whole = train(config_of(strategy, kind, out / "whole"), kind)
    chunks = train(config_of(strategy, kind, out / "chunks", microbatch=BATCH // 4), kind)
    difference = relative(whole.losses[1], chunks.losses[1])
    return {
        "ok": difference <= ROUNDING,
        "loss_difference": difference,
        "limit": ROUNDING,
        "matrix_points": points(whole.accuracies, chunks.accuracies),
    }


def out_of_memory(strategy: str, kind: Kind, out: Path) -> dict[str, Any]:
    """Fill the memory, and check that the message names the settings that lower it.

    On a GPU torch may take only a few megabytes more than it has, and the batch is large. On a processor the error is raised
    where a GPU would raise it.
    """
    config = config_of(strategy, kind, out, options={"batch_size": 512}, limit=512)
    status, message, allowed = None, "", None
    if torch.device(kind.device).type == "cuda":
        total = torch.cuda.get_device_properties(kind.device).total_memory
        for megabytes in (128, 64, 32, 16):
            torch.cuda.empty_cache()
            allowed = megabytes
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + megabytes * 2**20) / total)
            try:
                status, message = _status(config)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
                torch.cuda.empty_cache()
            if status is not None:
                break
    else:
        error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        with patch.object(Strategy, "backward", side_effect=error):
            status, message = _status(config)
    names = ("memory is full", "--microbatch", "--precision bf16", "batch_size")
    return {"ok": status == 1 and all(name in message for name in names), "megabytes": allowed, "message": message.strip()}


def _status(config: Any) -> tuple[Any, str]:
    """Return the exit status of a run, None if it ended well, and what it wrote to standard error."""
    written = io.StringIO()
    try:
        with redirect_stderr(written), reporting_failures():
            run(config, Screen(quiet=True))
    except SystemExit as ended:
        return ended.code, written.getvalue()
    return None, written.getvalue()


def _largest(expected: Trained, found: Trained) -> float:
    return max(relative(losses, found.losses[after]) for after, losses in expected.losses.items())


CHECKS = {"resume within a task": resume, "microbatch": microbatch, "out of memory": out_of_memory}


def checked(name: str, strategy: str, kind: Kind) -> dict[str, Any]:
    """Run a check in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return CHECKS[name](strategy, kind, Path(folder))
