"""The machine of a run: what a device allows."""

import pytest
import torch

from harness.config.run_config import RunConfig
from harness.run.environment import check_compile
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
