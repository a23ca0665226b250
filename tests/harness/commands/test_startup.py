"""Light commands do not import heavy modules. The test counts modules, not seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "torchvision", "avalanche", "open_clip", "transformers", "datasets", "peft", "scipy", "sklearn", "matplotlib"}
TABLES = {"numpy", "pandas", "pyarrow"}


def modules(folder, *arguments):
    """Return the top-level modules that a command has imported."""
    code = (
        "import sys, cli\n"
        "try:\n    cli.main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "left_alone"),
    [
        (["--help"], HEAVY | TABLES | {"PIL", "safetensors"}),
        (["bench", "--help"], HEAVY | TABLES | {"PIL", "safetensors"}),
        (["sweep", "--help"], HEAVY | TABLES | {"PIL", "safetensors", "ray", "submitit"}),
        (["list"], HEAVY | {"pandas", "pyarrow"}),
        (["data", "status"], HEAVY | {"pandas", "pyarrow"}),
        (["leaderboard"], HEAVY),
        (["sweep", "--strategies", "zscl,lora,iimm-guided", "--seeds", "0-1", "--status"], HEAVY | {"pandas", "pyarrow"}),
        (["sweep", "--strategies", "zscl,ties", "--dry-run"], HEAVY | {"pandas", "pyarrow"}),
        (["bench", "mtil", "--strategy", "zscl", "--set", "l2=-1"], HEAVY | TABLES),
        (["bench", "mtil", "--model", "ViT-B-61"], HEAVY | TABLES),
        (["study", "--power"], (HEAVY | {"pandas", "pyarrow"}) - {"scipy"}),
    ],
    ids=["help", "bench-help", "sweep-help", "list", "data-status", "leaderboard", "status", "dry-run", "set", "model", "pow"],
)
def test_light_commands_leave_heavy_modules_alone(arguments, left_alone, tmp_path):
    found = modules(tmp_path, *arguments)
    assert {"cli", "models"} <= found
    assert found & left_alone == set()
