"""One fresh process for all checks: starting it takes seconds."""

from contextlib import contextmanager

import pytest

from harness.export import write
from harness.export.check import FreshProcess


@pytest.fixture(scope="session")
def fresh():
    with FreshProcess() as process:
        yield process


@pytest.fixture
def one_process(fresh, monkeypatch):
    """Let `export` check in the shared process."""

    @contextmanager
    def running():
        yield fresh

    monkeypatch.setattr(write, "FreshProcess", running)
