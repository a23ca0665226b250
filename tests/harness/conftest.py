"""A finished run of a second, and a local hub."""

import runpy
from dataclasses import replace
from pathlib import Path

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


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server of this test's own that speaks the hub's API. The process is logged in, and its cache is empty."""
    import huggingface_hub
    from huggingface_hub import constants

    made = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "hub.py"))["Hub"]()
    settings = {"HF_ENDPOINT": made.endpoint, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_TOKEN": made.TOKEN, "no_proxy": "*"}
    for name, value in {**settings, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}.items():
        monkeypatch.setenv(name, value)
    # The library reads them when it is imported.
    monkeypatch.setattr(constants, "ENDPOINT", made.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield made
    huggingface_hub.close_session()
    made.close()
