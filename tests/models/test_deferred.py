"""Packages that Avalanche imports and a run does not use are imported on first use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(code, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_a_strategy_imports_none_of_them_and_leaves_nothing_in_the_temporary_directory(tmp_path):
    code = (
        "import sys, strategies.engine.strategy, harness.run.loop\n"
        "from models.deferred import DEFERRED, Deferred\n"
        "print(*(name for name in DEFERRED if not isinstance(sys.modules[name], Deferred)))\n"
        "print(*(name for name in ('jax', 'cvxopt', 'scipy.signal', 'wandb.sdk', 'bs4') if name in sys.modules))"
    )
    assert python(code, tmp_path) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_they_are_the_real_modules_when_they_are_used(tmp_path):
    code = (
        "import sys, strategies.engine.strategy\n"
        "import numpy, torch, qpsolvers, torchmetrics\n"
        "from avalanche.training.plugins import gem\n"
        "from avalanche.evaluation.metrics import topk_acc, confusion_matrix\n"
        "one = torch.tensor([1, 2])\n"
        "print(float(topk_acc.accuracy(one, torch.tensor([1, 0]), task='multiclass', num_classes=3)))\n"
        "solution = gem.qpsolvers.solve_qp(numpy.eye(2), -numpy.ones(2), solver='quadprog')\n"
        "print(solution.round(6).tolist() == [1, 1])\n"
        "import torchmetrics.functional.text, wandb.sdk\n"
        "from torchmetrics.functional import accuracy\n"
        "print(sys.modules['torchmetrics'].Accuracy.__name__, torchmetrics.functional.text.__name__, accuracy.__module__)\n"
        "print(confusion_matrix.wandb.Image is wandb.Image)"
    )
    expected = ["0.5", "True", "Accuracy", "torchmetrics.functional.text", "torchmetrics.functional.classification.accuracy"]
    assert python(code, tmp_path) == [*expected, "True"]


def test_what_is_imported_already_stays(monkeypatch):
    from models.deferred import defer

    real = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "wandb", real)
    defer()
    assert sys.modules["wandb"] is real


def test_what_is_not_installed_is_not_there(monkeypatch):
    from models import deferred

    monkeypatch.setattr(deferred, "DEFERRED", {"no_such_package": ()})
    deferred.defer()
    with pytest.raises(ModuleNotFoundError):
        __import__("no_such_package")
