"""The module `perennial` is light until a function is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import perennial

ROOT = Path(__file__).parent.parent


def test_names():
    assert {"bench", "load_run"} <= {*dir(perennial)}
    assert all(getattr(perennial, name).__module__ == perennial.TARGETS[name] for name in perennial.__all__)
    with pytest.raises(AttributeError, match=r"has no attribute 'benchh'; it has .*bench"):
        _ = perennial.benchh


def test_importing_it_imports_nothing_heavy():
    code = "import sys, perennial, harness.saved; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "avalanche", "pandas", "rich", "numpy"} & {*done.stdout.split()}
