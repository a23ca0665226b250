"""Resumed runs after changes in their folder: links, files of another run, numbers changed by hand."""

import os
import runpy
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

import cli
import models
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_json, write_json
from harness.records.leaderboard import leaderboard
from harness.run import checkpoint
from harness.run import loop as runner
from harness.run.failures import reporting_failures
from harness.run.loop import run
from harness.run.state import RunState
from models.registry import UserError
from strategies.engine.losses import NonFiniteLoss
from strategies.engine.mid_task import refusal
from strategies.engine.strategy import Strategy
from strategies.paint import Patching

said_by = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "runs.py"))["said_by"]
QUICK = {"iterations": 4, "batch_size": 20, "warmup": 1, "lr": 0.01}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), options=QUICK, out=str(tmp_path / "results"), measure_n=4,
        device="cpu", checkpoint_minutes=1e-9,
    )  # fmt: skip


@pytest.fixture
def whole(config, tmp_path):
    """Return a function that makes the record of the same run without an interruption."""
    return lambda config: run(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0), Screen(quiet=True)).folder


def files(folder):
    return [(folder / file).read_bytes() for file in ("accuracy.csv", "train.csv", "measures.csv")]


def stopped(config, killed, owner=Strategy, name="optimizer_step", n=7):
    """Return the folder of a killed run, by default killed in its second task."""
    killed(lambda: run(config, Screen(quiet=True)), owner, name, n)
    return resolve(config).folder


@pytest.mark.slow
def test_fresh_over_a_checkpoint_on_another_disk(config, killed, whole, tmp_path):
    folder = stopped(config, killed, n=3)
    (folder / "checkpoint").rename(tmp_path / "scratch")
    (folder / "checkpoint").symlink_to(tmp_path / "scratch")
    _, said = said_by(replace(config, fresh=True))
    assert "continuing" not in said and files(folder) == files(whole(config))
    assert (folder / "checkpoint").is_symlink() and (tmp_path / "scratch" / "after-3").is_dir()


@pytest.mark.slow
def test_without_latest_json_the_one_before_counts(config, killed, whole):
    folder = stopped(config, killed, n=10)
    (folder / "checkpoint" / "latest.json").unlink()
    _, said = said_by(config)
    assert "the file does not exist); continuing from the checkpoint before it" in said
    assert "continuing after experience 1 of 3" in said and files(folder) == files(whole(config))


@pytest.mark.slow
def test_files_of_another_run_are_not_taken(config, killed):
    theirs, mine = stopped(config, killed), resolve(replace(config, seed=1)).folder
    shutil.copytree(theirs, mine, ignore=shutil.ignore_patterns("run.json"))
    with pytest.raises(UserError, match=rf"{mine}.*latest\.json belongs to another run, with the key .*; --fresh starts over"):
        run(replace(config, seed=1), Screen(quiet=True))
    shutil.rmtree(mine)
    (mine / "checkpoint").mkdir(parents=True)
    stopped(replace(config, seed=1), killed)
    shutil.rmtree(mine / "checkpoint" / "within")
    shutil.copytree(theirs / "checkpoint" / "within", mine / "checkpoint" / "within")
    _, said = said_by(replace(config, seed=1))
    assert "belongs to another run" in said and "The task starts at its beginning." in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"strategy": "paint-sequential", "options": {**QUICK, "alphas": 3}}, {"tuning": "probe"}],
    ids=["searches", "probe"],
)
def test_killed_after_the_last_checkpoint(changes, config, killed, whole):
    config = replace(config, **changes)
    original = RunState.write_document

    def dies(state, status, error=None):
        if status == "finished":
            raise KeyboardInterrupt
        original(state, status, error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunState, "write_document", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, Screen(quiet=True))
    folder = run(config, Screen(quiet=True)).folder
    after, undisturbed = read_json(folder / "run.json"), read_json(whole(config) / "run.json")
    assert after["trainable_params"] > 0 and after["summary"] == undisturbed["summary"]
    assert all(after.get(name) == undisturbed.get(name) for name in ("trainable_params", "searches", "notes"))
    assert ("searches" in after) == ("strategy" in changes)


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), [(Strategy, "after_experience"), (runner, "_evaluate")])
@pytest.mark.parametrize("strategy", ["finetune", "paint-sequential"])
def test_a_signal_after_the_last_update_of_a_task(owner, name, strategy, config, whole, capsys, monkeypatch):
    """During a search for alpha or an evaluation, a signal is answered at once, and the training is not repeated."""
    if strategy == "paint-sequential":
        config = replace(config, strategy=strategy, options={**QUICK, "alphas": 3})
        owner, name = (Patching, "patch") if name == "after_experience" else (owner, name)
    original, asked = getattr(owner, name), []

    def signalled(*arguments, **more):
        # The first evaluation is the zero-shot row.
        asked.append(name)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            asked.append("not stopped")
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled)
        with pytest.raises(SystemExit), reporting_failures():
            run(config, Screen(quiet=True))
    task = "red" if name == "_evaluate" else "green"
    assert asked == [name] * 2
    assert f"terminated; the same command continues after update 4 of {task}" in capsys.readouterr().err
    folder, said = said_by(config)
    assert "continuing after update 4 of the next task" in said and files(folder) == files(whole(config))


def test_a_signal_while_the_model_is_loaded(config, capsys, monkeypatch):
    monkeypatch.setattr(models, "load", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "mtil", "--limit", "4", "--out", config.out, "--quiet"])
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert "perennial: terminated; the same command continues after the last finished task." in capsys.readouterr().err


class Forwards(Strategy):
    """Counts its calls, which changes the loss of later steps."""

    def forward(self):
        self.asked = getattr(self, "asked", 0) + 1
        return super().forward() * self.asked


class Around(Strategy):
    seen = 0

    def before_experience(self):
        super().before_experience()
        self.helper()

    def helper(self):
        self.seen += 1


class NothingToSave(Strategy):
    """Changes the loss and keeps nothing from step to step."""

    def compute_loss(self, batch):
        return 2 * super().compute_loss(batch)

    def task_state(self):
        return super().task_state()


def test_code_within_a_task_needs_task_state(toy_encoder):
    assert "Forwards overrides forward and not task_state" in refusal(Forwards(encoder=toy_encoder()))
    assert refusal(Around(encoder=toy_encoder())) is None
    assert refusal(NothingToSave(encoder=toy_encoder())) is None


@pytest.mark.slow
def test_nothing_is_saved_after_a_loss_that_is_nan(config, monkeypatch):
    original = Strategy.compute_loss
    monkeypatch.setattr(Strategy, "compute_loss", lambda s, batch: original(s, batch) / (len(s.history) != 2))
    with pytest.raises(NonFiniteLoss, match="red"):
        run(config, Screen(quiet=True))
    assert checkpoint.last_undamaged(resolve(config).folder / "checkpoint" / "within").after == 2


@pytest.mark.slow
def test_a_warning_about_another_microbatch(config, killed):
    folder = stopped(replace(config, microbatch=5), killed)
    _, said = said_by(config)
    assert "warning: continued with other microbatch (5, now none): the numbers may differ" in said
    assert read_json(folder / "run.json")["continued"][0]["warnings"]


@pytest.mark.parametrize("place", ["checkpoint", "checkpoint/within"])
def test_a_file_where_a_folder_should_be(place, config, capsys):
    path = resolve(config).folder / place
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(SystemExit) as ended, reporting_failures():
        run(config, Screen(quiet=True))
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.startswith("perennial: ") and str(path) in said and said.count("\n") == 1
    assert path.read_text() == "mine"


@pytest.mark.slow
def test_a_summary_changed_by_hand(config):
    folder = run(config, Screen(quiet=True)).folder
    path = folder / "run.json"
    document = read_json(path)
    assert len(leaderboard([folder])) == 1
    changed = {**document["summary"], "average": 99.0, "last": None}
    write_json(path, {**document, "summary": changed})
    message = r"run\.json contradicts itself: summary\.average is 99\.0000, but by accuracy\.csv it is"
    for look in (lambda: leaderboard([folder]), lambda: run(config, Screen(quiet=True))):
        with pytest.raises(UserError, match=message):
            look()
    (folder / "accuracy.csv").unlink()
    with pytest.raises(UserError, match=r"accuracy\.csv is missing, so the summary in run\.json cannot be checked"):
        leaderboard([folder])
