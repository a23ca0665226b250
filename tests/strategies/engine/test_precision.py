"""--precision and --microbatch: the number format of a run, its record, and advice when memory is full."""

import json
from dataclasses import replace

import pytest
import torch

from harness.config.resolve import check_names, resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.run import environment as machine
from harness.run.failures import reporting_failures
from harness.run.loop import run
from models.registry import UserError

QUICK = {"iterations": 4, "batch_size": 8, "warmup": 1, "lr": 0.001}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), measure_n=4, out=str(tmp_path / "out"), options=QUICK
    )


def losses(config):
    folder = run(config, Screen(quiet=True)).folder
    found = [float(r["loss"]) for r in read_csv(folder / "train.csv")]
    assert len(found) == 3 * QUICK["iterations"]
    return torch.tensor(found), json.loads((folder / "run.json").read_text())


@pytest.mark.slow
def test_bf16_is_another_run(config):
    exact, document = losses(config)
    half, of_half = losses(replace(config, precision="bf16"))
    assert not torch.equal(half, exact)
    assert "precision" not in document["identity"] and document["request"]["precision"] == "fp32"
    assert of_half["identity"]["precision"] == of_half["request"]["precision"] == "bf16"
    assert document["key"] != of_half["key"]
    torch.testing.assert_close(half, exact, rtol=0.05, atol=0)


@pytest.mark.slow
def test_a_microbatch_is_the_same_run(config):
    """Its losses differ only by rounding, so it shares key and folder. The record has it."""
    whole, document = losses(config)
    chunked, of_chunked = losses(replace(config, microbatch=3, fresh=True))
    assert document["key"] == of_chunked["key"] and of_chunked["request"]["microbatch"] == 3
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=0)


def test_mistakes(config):
    with pytest.raises(UserError, match=r"Unknown precision 'bf61'.*Did you mean bf16"):
        check_names(replace(config, precision="bf61"))
    with pytest.raises(UserError, match="--microbatch must be at least 1"):
        check_names(replace(config, microbatch=0))
    with pytest.raises(UserError, match="tf32 needs an NVIDIA GPU"):
        run(replace(config, precision="tf32", device="cpu"))


def test_products_of_float32_are_exact(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        machine.set_precision("bf16", torch.device("cpu"))
        assert torch.get_float32_matmul_precision() == "highest" and torch.backends.cudnn.allow_tf32 is False
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU's memory is full"),
        (MemoryError(), "the memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "the memory is full"),
    ],
)
def test_memory_that_is_full(error, what, capsys):
    with pytest.raises(SystemExit) as stopped, reporting_failures():
        raise error
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and what in said and "--microbatch" in said and "--precision bf16" in said
    with pytest.raises(RuntimeError, match="something else"), reporting_failures():
        raise RuntimeError("something else")


def test_configurations_keep_them(config, tmp_path):
    from harness.config.config_file import read_file

    path = tmp_path / "run.toml"
    path.write_text('benchmark = "mtil"\nprecision = "bf16"\nmicrobatch = 8\n')
    assert read_file(str(path)) == {"benchmark": "mtil", "precision": "bf16", "microbatch": 8}
    assert resolve(replace(config, precision="bf16")).key != resolve(config).key
