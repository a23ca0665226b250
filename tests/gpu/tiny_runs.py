"""Runs of two small domains with the tiny model, in this process."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from same_draws import SameDraws

from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.run.loop import run
from models.graphs import Recording
from strategies import STRATEGIES

TASKS, UPDATES, BATCH, IMAGES = ("digits", "nature"), 20, 8, 64
"""Domains of the mini edition, updates per task, images per update, and images per split."""


class Kind(NamedTuple):
    """A way to compute a run: device, precision, on a processor whether oneDNN computes, and the value of --compile.

    Without oneDNN, sums have another order, as on another device.
    """

    device: str
    precision: str
    onednn: bool = True
    compile: str = "off"

    @property
    def name(self) -> str:
        """Name of the kind, for tables and folders."""
        return f"{self.device.replace(':', '')}-{self.precision}" + ("" if self.onednn else "-without-onednn")


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        losses: of each update, by task.
        accuracies: in percent, by task and test set.
        seconds: that it took.
        replays: passes of a tower that were replayed as CUDA graphs.
    """

    losses: dict[int, list[float]]
    accuracies: dict[str, float]
    seconds: float
    replays: int = 0


def config_of(strategy: str, kind: Kind, out: Path, options: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """Return the configuration of a run. `options` and `changes` replace the defaults of these runs."""
    known = {field.name for field in dataclasses.fields(STRATEGIES.get(strategy).Options)}
    usual = {"iterations": UPDATES, "batch_size": BATCH, "reference_batch": BATCH}
    chosen = {key: value for key, value in usual.items() if key in known} | (options or {})
    settings: dict[str, Any] = {"tasks": TASKS, "heldout": (), "limit": IMAGES, "measure_n": 32, "measures": ("iimm",)}
    settings |= {"device": kind.device, "precision": kind.precision, "compile": kind.compile}
    settings |= {"checkpoint_minutes": 0.0, "out": str(out)}
    return RunConfig("stream", strategy=strategy, options=chosen, **(settings | changes))


def train(config: RunConfig, kind: Kind) -> Trained:
    """Run a configuration and read its record."""
    began = time.perf_counter()
    onednn = nullcontext() if kind.onednn else torch.backends.mkldnn.flags(enabled=False)
    with onednn, SameDraws(), counted_replays() as replays:
        folder = run(config, Screen(quiet=True)).folder
    losses: dict[int, list[float]] = {}
    for row in read_csv(folder / "train.csv"):
        losses.setdefault(int(row["after"]), []).append(float(row["loss"]))
    cells = {f"{row['after']} {row['task']}": float(row["accuracy"]) for row in read_csv(folder / "accuracy.csv")}
    return Trained(losses, cells, time.perf_counter() - began, len(replays))


@contextmanager
def counted_replays() -> Iterator[list[None]]:
    """Yield a list that gets an entry for each pass that is replayed as a CUDA graph."""
    replays: list[None] = []
    original = Recording.replay_forward

    def replay(recording: Recording, inputs: torch.Tensor) -> Any:
        replays.append(None)
        return original(recording, inputs)

    with patch.object(Recording, "replay_forward", replay):
        yield replays


def relative(expected: list[float], found: list[float]) -> float:
    """Return the largest difference of two lists of losses, as a share of the expected loss.

    Raises:
        ValueError: if there is another number of updates.
    """
    if len(expected) != len(found):
        raise ValueError(f"{len(found)} updates, expected {len(expected)}")
    return max((abs(a - b) / max(abs(a), 1e-12) for a, b in zip(expected, found, strict=True)), default=0.0)


def points(expected: dict[str, float], found: dict[str, float]) -> float:
    """Return the largest difference of two accuracy matrices, in points. Raises ValueError for other cells."""
    if expected.keys() != found.keys():
        raise ValueError(f"cells {sorted(found)}, expected {sorted(expected)}")
    return max(abs(expected[cell] - found[cell]) for cell in expected)


def prepare_process() -> None:
    """Use one thread and, where a GPU has them, sums that can be repeated. Call it before the first run of a process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
