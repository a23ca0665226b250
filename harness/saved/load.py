"""`load_run`: rebuild the model of a finished run from its checkpoint, through the code that resumes runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from avalanche.benchmarks import CLScenario

from harness.config.run_config import RunConfig
from harness.config.user_plugins import make_plugin
from harness.display.screen import Screen
from harness.records.runs import Run
from harness.run import checkpoint
from harness.run.build import build_strategy, load_encoder
from harness.run.environment import device_of
from harness.run.heads import Heads
from harness.run.restore import restore
from harness.run.run_files import CHECKPOINTS
from harness.saved.benchmark import benchmark_of
from harness.saved.record import config_of, find_run, kept_after, resolved_from
from harness.saved.saved_run import SavedRun, whole_state
from metrics.plugins import AccuracyMatrix
from models.encoder import DualEncoder
from models.registry import UserError, first_line
from strategies.engine.method_checks import is_built_in
from strategies.engine.strategy import Strategy


def load_run(run: str | Path, after: int | None = None, device: str = "cpu", *, trust_code: bool = False) -> SavedRun:
    """Load the model of a finished run, as it was evaluated.

    The state is rebuilt as in a resumed run, for every method and tuning. No data of the benchmark is read, except for a run of
    an earlier version, whose checkpoint does not name its classes.

    Args:
        run: the folder of a run, its run.json, or a folder with a single run in it.
        after: the number of the task after which the model is taken; 0 is the initial model. None: after the last task. Only
            tasks that were kept can be loaded.
        device: "cpu", "cuda", "cuda:N" or "auto".
        trust_code: run the code of a user's strategy, tuning or plugin file that the record names.

    Returns:
        The model with its heads.

    Raises:
        UserError: for a path without a run, a run that is not finished, a task that was not kept, a damaged file, and code or
            a model that has changed since the run.

    Example:
        ```python
        from harness.saved import load_run

        saved = load_run("results/mtil-mini-I/zscl-52556192e1")
        for answer in saved.top(["photo.jpg"], k=5)[0]:
            print(f"{answer.probability:.2f} {answer.classname}")
        ```
    """
    record = find_run(run)
    number = kept_after(record, after)
    config = config_of(record, device)
    resolved = resolved_from(record, config, trust_code)
    target = device_of(device)
    weights, state = checkpoint.load_state(record.folder / CHECKPOINTS, number, target)
    with _random_state_kept():
        encoder = load_encoder(resolved)
        known = state.get("benchmark")
        heads = Heads.of(_old_benchmark(record, config, encoder)) if known is None else Heads.load(known)
        scenario = heads.without_data(encoder)
        plugins = {name: make_plugin(name, options) for name, options in resolved.plugins.items()}
        matrix = AccuracyMatrix()
        strategy = build_strategy(resolved, encoder, None, [matrix], plugins, target, Screen(quiet=True))
        strategy.evaluates_only = True
        with whole_state(strategy):
            _prepare(strategy)
            restore(weights, state, strategy, plugins, list(scenario.streams["train"])[:number])
    return SavedRun(record, config, strategy, scenario, heads, matrix)


def _old_benchmark(record: Run, config: RunConfig, encoder: DualEncoder) -> CLScenario:
    """Build the benchmark of a run whose checkpoint does not name its classes."""
    try:
        return benchmark_of(record, config, encoder)
    except UserError as error:
        raise UserError(
            f"The checkpoint of {record.folder} is from an earlier version and does not name its classes, and its benchmark "
            f"cannot be built: {error}"
        ) from error


def _prepare(strategy: Strategy) -> None:
    """Call `before_run`. Raises UserError for a user's method that reads what only training has."""
    try:
        strategy.prepare_run()
    except UserError:
        raise
    except Exception as error:
        if is_built_in(type(strategy)):
            raise
        name = type(strategy).__name__
        raise UserError(
            f"{name}.before_run fails outside of training ({type(error).__name__}: {first_line(error)}). Skip in it what only "
            "training needs if self.evaluates_only is true."
        ) from error


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Restore the global random generators after the block, which seeds them as a run does."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
