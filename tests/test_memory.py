"""Freed memory is kept for the next step."""

import resource
import sys

import pytest
import torch

from models.memory import keep_freed_memory


def faults(step):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_a_second_step_takes_no_new_pages():
    def step():
        torch.ones(2**24).exp()  # 64 MiB twice: 32,768 pages

    keep_freed_memory()
    step()
    assert faults(step) < 1000


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda *_: pytest.fail("the C library was asked"))
    keep_freed_memory.__wrapped__()
