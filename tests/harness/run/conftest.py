"""A run of a second. A test module that needs other settings has a fixture of the same name."""

import pytest

from harness.config.run_config import RunConfig


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    options = {"iterations": 2, "batch_size": 8, "warmup": 1, "lr": 0.003}
    return RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), options=options, out=str(tmp_path / "results"), measure_n=4,
        device="cpu",
    )  # fmt: skip
