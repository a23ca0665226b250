"""A user's method that keeps state: a resumed run has the numbers of an uninterrupted one, or starts over and says why."""

import json
import re
import runpy
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands.check import compare, findings
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import neighbours

METHODS = Path(__file__).parents[2] / "fakes" / "methods.py"
FAKES = runpy.run_path(str(METHODS))
RUNS = runpy.run_path(str(METHODS.with_name("runs.py")))
said_by, files = RUNS["said_by"], RUNS["files"]
NAMES = [kind.__name__ for kind in FAKES["CONTINUES"]]
LOST = {kind.__name__: lost for kind, lost in FAKES["STARTS_OVER"].items()}
QUICK = {"iterations": 3, "batch_size": 20, "warmup": 1, "lr": 0.01}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    out = str(tmp_path / "results")
    toy = {"model": str(model_directory), "heldout": (), "measures": ("iimm",), "measure_n": 4}
    return RunConfig(toy_benchmark, out=out, options=QUICK, **toy)


def killed_and_resumed(config, killed, tmp_path, n=7):
    """Return the outputs of an undisturbed run and of one resumed after a kill before update `n` (7: the first of task 3)."""
    whole, said_whole = said_by(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0))
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "optimizer_step", n)
    folder, said = said_by(config)
    assert files(folder) == files(whole)
    return said_whole, said


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_state_that_is_restored_or_made_again(name, config, killed, tmp_path):
    early, said = killed_and_resumed(replace(config, strategy=f"{METHODS}:{name}"), killed, tmp_path)
    assert "continuing after experience 2 of 3" in said and "starts over" not in said
    assert "`state` does not return" not in early


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lost"), LOST.items())
def test_state_that_is_lost_starts_over(name, lost, config, killed, tmp_path):
    early, said = killed_and_resumed(replace(config, strategy=f"{METHODS}:{name}"), killed, tmp_path)
    assert f"this run starts over from the first task: {lost}" in said
    if name == "Counted":
        assert "warning: Counted.total changed during the task and `state` does not return it" in early


@pytest.mark.slow
def test_within_a_task(config, killed, tmp_path):
    """Killed after the first update of the third task."""
    config = replace(config, checkpoint_minutes=1e-9)
    _, said = killed_and_resumed(replace(config, strategy=f"{METHODS}:SavedWithin"), killed, tmp_path, n=8)
    assert "continuing after update 1 of the next task" in said and "again" not in said
    _, said = killed_and_resumed(replace(config, strategy=f"{METHODS}:ForgottenWithin"), killed, tmp_path, n=8)
    assert "the interrupted task starts again at its beginning: ForgottenWithin.steps changed" in said
    assert "starts over" not in said
    _, said = killed_and_resumed(replace(config, strategy=f"{METHODS}:Saved"), killed, tmp_path, n=8)
    assert "continuing after experience 2 of 3" in said and "continuing after update" not in said


@pytest.mark.slow
def test_each_seed_begins_with_a_fresh_import(config):
    """State that a run leaves in a class or module of the file does not reach the next run of the command."""
    config = replace(config, strategy=f"{METHODS}:OfModule", out=config.out + "-1", seed=1)
    alone = files(run(config, Screen(quiet=True)).folder)
    run(replace(config, seed=0), Screen(quiet=True))
    assert files(run(replace(config, out=config.out + "-2"), Screen(quiet=True)).folder) == alone


@pytest.mark.parametrize("state", ["None", "{'a': {1: 2}}", "{'a': object()}"])
def test_a_state_that_cannot_be_saved(state, config, tmp_path):
    path = tmp_path / "odd.py"
    path.write_text(f"from strategies import Strategy\n\nclass Odd(Strategy):\n    def state(self):\n        return {state}\n")
    with pytest.raises(UserError, match=r"^Odd\.state must return a dict|^The state of Odd or of a plugin cannot be saved: "):
        run(replace(config, strategy=str(path)), Screen(quiet=True))


@pytest.mark.slow
def test_check_finds_what_an_interruption_would_change(config):
    for name, lines in (
        ("SavedWithin", ["continues with the same numbers"] * 2),
        ("Saved", ["continues with the same numbers", "starts the task again, with the same numbers (no task_state)"]),
    ):
        found = list(findings(replace(config, strategy=f"{METHODS}:{name}", out=f"{config.out}-{name}")))
        assert all(finding.passed for finding in found)
        assert [finding.text.partition(": ")[2] for finding in found[1:3]] == lines
    found = list(findings(replace(config, strategy=f"{METHODS}:Counted", out=f"{config.out}-counted")))
    assert [finding.passed for finding in found] == [True, False, False, True, True, True]
    assert found[5].text.startswith("batches: no prediction of ")
    assert found[1].text.startswith("interrupted between two tasks: this run starts over from the first task: Counted.total")


@pytest.mark.slow
def test_state_of_a_module_beside_the_file(config, tmp_path):
    (tmp_path / "elsewhere.py").write_text("steps = 0\n")
    (tmp_path / "hidden.py").write_text(
        "import elsewhere\nfrom strategies import Strategy\n\n\nclass Hidden(Strategy):\n"
        "    def compute_loss(self, batch):\n        return super().compute_loss(batch) * (1 + elsewhere.steps / 10)\n\n"
        "    def after_step(self, step):\n        elsewhere.steps += 1\n"
    )
    found = list(findings(replace(config, strategy=str(tmp_path / "hidden.py"))))
    assert not found[1].passed and "starts over from the first task: module elsewhere.steps" in found[1].text
    assert not (whole := compare(*(next((tmp_path / "results" / each).glob("*/*")) for each in ("whole", "between")))), whole


@pytest.mark.slow
def test_check_finds_state_that_cannot_be_seen(config, tmp_path):
    (tmp_path / "hidden.py").write_text(
        "import json\nfrom strategies import Strategy\n\n\nclass Hidden(Strategy):\n"
        "    def compute_loss(self, batch):\n"
        "        return super().compute_loss(batch) * (1 + getattr(json, 'steps', 0) / 10)\n\n"
        "    def after_step(self, step):\n        json.steps = getattr(json, 'steps', 0) + 1\n"
    )
    found = list(findings(replace(config, strategy=str(tmp_path / "hidden.py"))))
    del json.steps
    assert not found[1].passed and "two uninterrupted runs differ: " in found[1].text


@pytest.mark.slow
def test_the_tutorials_example_passes(config, tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "tutorials" / "method.md").read_text(encoding="utf-8")
    (block,) = re.findall(r'```python title="ema_teacher.py"\n(.*?)```', text, re.DOTALL)
    (tmp_path / "ema_teacher.py").write_text(block)
    assert all(finding.passed for finding in findings(replace(config, strategy=f"{tmp_path}/ema_teacher.py:EMATeacher")))


def test_neighbours_are_the_modules_that_are_imported_now(tmp_path, monkeypatch):
    method, beside, elsewhere = (types.ModuleType(name) for name in ("perennial_user_m", "beside_m", "beside_m"))
    method.__file__, beside.__file__, elsewhere.__file__ = (
        str(tmp_path / name) for name in ("m.py", "beside_m.py", "a/b/x.py")
    )
    assert neighbours(method) == []
    for module, expected in ((beside, [beside]), (elsewhere, []), (beside, [beside])):
        monkeypatch.setitem(sys.modules, "beside_m", module)
        assert neighbours(method) == expected == neighbours(method)
    del sys.modules["beside_m"]
    assert neighbours(method) == []
