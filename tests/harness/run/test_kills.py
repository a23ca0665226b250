"""A few SIGKILLs at random moments; `tests/robust/kills.py` does thirty."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "robust" / "kills.py"


@pytest.mark.slow
def test_killed_runs_have_the_record_of_an_undisturbed_run(model_directory):
    # A separate process, since it forks: a process that has computed with several threads must not fork.
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--strategies", "zscl", "--limit", "24", "--iterations", "6"]
    command += ["--model", str(model_directory)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "zscl: 2 kills in" in done.stdout and "0 differences" in done.stdout
