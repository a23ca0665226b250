"""The machine of a run: what a device allows."""

import pytest
import torch

from harness.config.run_config import RunConfig
from harness.config.settings import in_identity
from harness.run import environment
from harness.run.environment import check_compile, set_compile
from harness.run.loop import run
from models.registry import UserError


@pytest.mark.parametrize("mode", ["graphs", "both"])
def test_graphs_need_a_gpu(mode, tmp_path):
    with pytest.raises(UserError, match=f"--compile {mode} needs an NVIDIA GPU. On cpu use --compile blocks or off"):
        run(RunConfig("mtil", "finetune", compile=mode, device="cpu", out=str(tmp_path)))


def test_graphs_and_microbatch():
    for mode in ("off", "blocks"):
        check_compile(RunConfig(compile=mode, microbatch=8), torch.device("cuda"))
    with pytest.raises(UserError, match="cannot be combined with --microbatch"):
        check_compile(RunConfig(compile="graphs", microbatch=8), torch.device("cuda"))


def test_graphs_are_the_default_on_a_gpu_in_one_process(toy_encoder, monkeypatch):
    def graphed(device, **settings):
        encoder = toy_encoder()
        set_compile(RunConfig(**settings), encoder, torch.device(device))
        return encoder.graphs is not None

    assert graphed("cuda") and graphed("cuda", compile="graphs")
    assert not any((graphed("cpu"), graphed("cuda", compile="off"), graphed("cuda", microbatch=8)))
    monkeypatch.setattr(environment, "processes", lambda: 2)
    assert not graphed("cuda")


def test_what_gives_the_same_numbers_is_the_same_run():
    def identity(mode):
        return in_identity(vars(RunConfig("mtil", compile=mode))).get("compile")

    assert [identity(mode) for mode in ("auto", "off", "graphs", "blocks", "both")] == [None, None, None, "blocks", "both"]
