"""Freed memory is kept for the next step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.memory import keep_freed_memory

STEPS = """
import resource, torch
from models.memory import keep_freed_memory
def step():
    torch.ones(2**24).exp()  # 64 MiB twice: 32,768 pages
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_freed_memory()
for _ in range(30):  # until the blocks have found their places: 2 to 7 steps
    step()
print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_later_steps_take_no_new_pages():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("the C library was asked"))
    keep_freed_memory.__wrapped__()
