"""Runs killed in the middle of a task continue to bit-identical files. Signals save and report it.

`tests/strategies/test_every_strategy.py` kills every built-in method.
"""

import os
import random
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.data.dataset import TensorImages
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run import signals
from harness.run.failures import reporting_failures
from harness.run.loop import run
from harness.run.mid_task_checkpoints import MidTaskCheckpoints
from harness.run.signals import Stopped, stop
from strategies import ABOUT, STRATEGIES
from strategies.engine.batches import DrawnBatches, drawn_loader
from strategies.engine.mid_task import Batches, generators, refusal, set_generators
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 5, "batch_size": 20, "warmup": 1, "lr": 0.01}
TRAINED = [name for name in ABOUT if name != "zero-shot"]


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        toy_benchmark, model=str(model_directory), measure_n=4, out=str(tmp_path / "results"), checkpoint_minutes=1e-9
    )


def files(folder):
    return [(folder / file).read_bytes() for file in ("accuracy.csv", "train.csv", "measures.csv")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "zscl", "own": {"moving_average": "previous", "average_every": 2}},
        {"strategy": "zscl", "own": {"teacher": "wise", "reference_images": "current", "reference_sentences": "classnames"}},
        {"strategy": "zscl", "own": {"reference_images": "batch", "average_every": 1, "average_pull": 0.5}},
        {"strategy": "zscl", "own": {"exactness": "plain"}},
        {"strategy": "finetune", "tuning": "lora", "own": {}},
        {"strategy": "finetune", "own": {"optimizer": "sgd", "schedule": "constant"}},
    ],
    ids=["moving", "wise", "batch", "plain", "lora", "sgd"],
)
def test_variants(changes, config, killed, tmp_path):
    own = changes.pop("own")
    config = replace(config, **changes, options={**QUICK, **own})
    whole = run(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0), Screen(quiet=True)).folder
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "optimizer_step", 9)
    assert files(run(config, Screen(quiet=True)).folder) == files(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_saves_and_says_how_to_go_on(number, status, word, config, tmp_path, capsys, monkeypatch):
    config = replace(config, strategy="finetune", options=QUICK, checkpoint_minutes=0)
    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True)).folder
    original, count = Strategy.after_step, [0]

    def after_step(strategy, step):
        original(strategy, step)
        count[0] += 1
        if count[0] == 8:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    monkeypatch.setattr(Strategy, "after_step", after_step)
    with pytest.raises(SystemExit) as stopped, reporting_failures():
        run(config, Screen(quiet=True))
    assert stopped.value.code == status and signal.getsignal(number) is before
    assert f"{word}; the same command continues after update 3 of green" in capsys.readouterr().err
    assert '"status": "interrupted"' in next((tmp_path / "results").glob("*/*/run.json")).read_text()
    assert files(run(config, Screen(quiet=True)).folder) == files(whole)


@pytest.mark.slow
def test_a_signal_after_the_last_update(config, tmp_path, capsys, monkeypatch):
    config = replace(config, strategy="finetune", options=QUICK, checkpoint_minutes=0)
    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True)).folder
    with monkeypatch.context() as patch:
        patch.setattr(Strategy, "after_experience", lambda strategy: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(SystemExit), reporting_failures():
            run(config, Screen(quiet=True))
    assert "interrupted; the same command continues after the last finished task" in capsys.readouterr().err
    assert files(run(config, Screen(quiet=True)).folder) == files(whole)


@pytest.mark.slow
def test_a_damaged_middle_is_left_out(config, killed, tmp_path, capsys):
    config = replace(config, strategy="finetune", options=QUICK)
    whole = run(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0), Screen(quiet=True)).folder
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "optimizer_step", 9)
    for file in (tmp_path / "results").glob("*/*/checkpoint/within/*/encoder.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert files(run(config, Screen()).folder) == files(whole)
    assert "The task starts at its beginning" in capsys.readouterr().out


class Runs(Strategy):
    def compute_loss(self, batch):
        self.seen = getattr(self, "seen", 0) + 1
        return super().compute_loss(batch) * self.seen


class Says(Runs):
    def task_state(self):
        return {"seen": self.seen}

    def load_task(self, state, step):
        self.seen = state["seen"]


def test_whose_tasks_can_be_taken_up(toy_encoder):
    assert all(refusal(STRATEGIES.get(name).__new__(STRATEGIES.get(name))) is None for name in TRAINED)
    assert refusal(Strategy(encoder=toy_encoder()), ["ewc"]) == "the plugins ewc are saved only after each task"
    assert "Runs overrides compute_loss and not task_state" in refusal(Runs(encoder=toy_encoder()))
    assert refusal(Says(encoder=toy_encoder())) is None


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 9])
def test_batches_continue(taken):
    """A loader draws from the global generator, and other code draws in between."""
    data = TensorImages(torch.arange(7 * 3).reshape(7, 3, 1, 1).to(torch.uint8), list(range(7)))

    def loader():
        return DataLoader(data, batch_size=2, shuffle=True)

    torch.manual_seed(3)
    batches, seen = Batches(loader()), []
    for i in range(12):
        if i == taken:
            state, drawn = batches.state(), generators()
        seen.append(next(batches)[1].tolist() + torch.rand(2).tolist())
    torch.manual_seed(99)
    again = Batches(loader())
    again.restore(state) if taken else None
    set_generators(drawn)
    assert [next(again)[1].tolist() + torch.rand(2).tolist() for _ in range(12 - taken)] == seen[taken:]
    with pytest.raises(ValueError, match="the training split is empty"):
        next(Batches([]))


@pytest.mark.parametrize("taken", [1, 4, 8, 9, 12])
def test_drawn_batches_continue(taken):
    """A loader skips the batches that were taken without reading them: also whole passes, and with nothing left."""

    def batches(count):
        drawn = DrawnBatches(count, 2, shuffle=True, seeds=(5,))
        return Batches(drawn_loader(list(range(count)), drawn, collate=list, workers=0, seeds=(5,), pin=False))

    whole, again, empty = batches(7), batches(7), batches(0)
    seen = [next(whole) for _ in range(16)]
    again.restore({"taken": taken})
    assert [next(again) for _ in range(16 - taken)] == seen[taken:]
    empty.restore({"taken": taken})
    with pytest.raises(ValueError, match="the training split is empty"):
        next(empty)


def test_generators_come_back():
    state = generators()
    first = (random.random(), np.random.rand(), float(torch.rand(())), random.gauss(0, 1), np.random.randn())
    set_generators(state)
    assert first == (random.random(), np.random.rand(), float(torch.rand(())), random.gauss(0, 1), np.random.randn())


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "SAME", 0.0)
    checkpoints = MidTaskCheckpoints(tmp_path, 5, dict)
    sent = []

    def task():
        with checkpoints.training(0, "red", resumable=True):
            for i in range(3):
                sent.append(i)
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped), checkpoints.answering_signals():
        task()
    assert sent == [0, 1]
    with pytest.raises(Stopped), MidTaskCheckpoints(tmp_path, 5, dict).answering_signals():
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_comes_again_at_once_is_one(tmp_path):
    """Several signals, as from a parent with several threads that dies, interrupt neither the save nor the exit."""
    sent = []

    def task():
        with checkpoints.answering_signals(), checkpoints.training(0, "red", resumable=True):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                sent.append("in the task")

    checkpoints = MidTaskCheckpoints(tmp_path, 5, dict)
    with signals.handled(stop):
        with pytest.raises(Stopped):
            task()
        os.kill(os.getpid(), signal.SIGTERM)
        sent.append("after it")
    assert sent == ["in the task"] * 3 + ["after it"]
