"""A finished run of a second."""

from dataclasses import replace

import pytest

from benchmarks import BENCHMARKS
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run


@pytest.fixture
def two_tasks(toy_benchmark, monkeypatch):
    """The toy benchmark with its first two tasks."""
    three = BENCHMARKS.get(toy_benchmark)
    monkeypatch.setitem(BENCHMARKS._objects, toy_benchmark, lambda ask: three(replace(ask, order="red,green")))
    return toy_benchmark


@pytest.fixture
def finished(two_tasks, model_directory, tmp_path):
    """Return a function that runs a strategy on the first two toy tasks and returns the folder."""
    options = {"iterations": 2, "batch_size": 8, "warmup": 1, "lr": 0.003}
    config = RunConfig(two_tasks, model=str(model_directory), out=str(tmp_path / "results"), measure_n=4, device="cpu")

    def made(strategy="finetune", changes=(), **settings):
        return run(replace(config, strategy=strategy, options=options | dict(changes), **settings), Screen(quiet=True)).folder

    return made
