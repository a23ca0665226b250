"""Whole runs reach their loggers: everything once, also after interruptions and failures."""

import itertools
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cli
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.loggers import LOGGERS, Logger
from harness.loggers.live_updates import LiveUpdates
from harness.records.files import read_csv, read_json
from harness.run.loop import run
from models.registry import UserError
from strategies.engine.strategy import Strategy

said_by = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "runs.py"))["said_by"]


class Recorder(Logger):
    """Keeps all calls of all processes of a test."""

    calls = []
    place = "here"

    def start(self, run):
        self.calls.append(("start", run))

    def updates(self, rows):
        self.calls.append(("updates", list(rows)))

    def task(self, after, values, matrix):
        self.calls.append(("task", (after, values, matrix)))

    def finish(self, summary):
        self.calls.append(("finish", summary))


class Broken(Recorder):
    """Fails at the evaluation after the second task."""

    def task(self, after, values, matrix):
        if after == 2:
            raise ConnectionError("no route to host\nand more")
        super().task(after, values, matrix)


@pytest.fixture
def calls(monkeypatch):
    """Return the calls of the loggers `recorder` and `broken` by name of the method."""
    made = []
    for kind in (Recorder, Broken):
        monkeypatch.setattr(kind, "calls", made)
        monkeypatch.setitem(LOGGERS._objects, kind.__name__.lower(), kind)
    monkeypatch.setattr("harness.loggers.live_updates.SECONDS", 0.0)
    return lambda name: [value for what, value in made if what == name]


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), out=str(tmp_path / "results"), measure_n=4, device="cpu",
        options={"iterations": 4, "batch_size": 8, "warmup": 1, "lr": 0.003}, checkpoint_minutes=1e-9, log=("recorder",),
    )  # fmt: skip


def handed_over(calls):
    return [row for rows in calls("updates") for row in rows]


@pytest.mark.slow
def test_a_run_interrupted_within_a_task_is_handed_over_once(config, calls, killed):
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "optimizer_step", 7)
    # The sixth update is complete, and the second task has two.
    assert [number for number, _ in handed_over(calls)] == [1, 2, 3, 4, 5, 6] and calls("finish") == [None]
    folder, said = said_by(config)
    assert "log: recorder (here)" in said and folder == resolve(replace(config, log=())).folder
    rows = read_csv(folder / "train.csv")
    assert handed_over(calls) == [
        (i, {"train/loss": pytest.approx(float(row["loss"])), "train/lr": float(row["lr"])})
        for i, row in enumerate(rows, start=1)
    ]
    # Live: not only after each task.
    assert len(calls("updates")) > 6
    first, second = calls("start")
    assert (first.resumed, second.resumed, second.updates) == (False, True, 6) and first.id == second.id
    assert first.project == "toy-mini-I" and first.name == "finetune-seed0" and first.config["options"]["iterations"] == 4
    cells = read_csv(folder / "accuracy.csv")
    tasks = calls("task")
    assert [after for after, *_ in tasks] == [0, 1, 2, 3]
    for after, values, _ in tasks:
        here = [cell for cell in cells if int(cell["after"]) == after]
        named = {f"{'accuracy' if c['stream'] == 'test' else 'heldout'}/{c['task']}": float(c["accuracy"]) for c in here}
        assert named.items() <= values.items() and len(named) == 4
        measures = [m for m in read_csv(folder / "measures.csv") if int(m["experience"]) == after]
        assert {f"measure/{m['measure']}": float(m["value"]) for m in measures if m["value"]}.items() <= values.items()
    pictures = [matrix for *_, matrix in tasks]
    assert all(p.dtype == np.uint8 and p.shape == pictures[0].shape and p.shape[2] == 3 for p in pictures)
    # The next row appears in the next picture.
    assert all((one != other).any() for one, other in itertools.pairwise(pictures))
    summary = read_json(folder / "run.json")["summary"]
    assert calls("finish")[1:] == [{name: value for name, value in summary.items() if value is not None}]
    # The same command again has nothing to hand over; another logger gets everything.
    before = len(calls("start"))
    said_by(config)
    assert len(calls("start")) == before
    said_by(replace(config, fresh=True))
    assert calls("start")[-1].id != first.id and not calls("start")[-1].resumed
    assert len(handed_over(calls)) == 2 * len(rows)


@pytest.mark.slow
def test_a_logger_that_fails_warns_once_and_gets_the_rest_later(config, calls, monkeypatch):
    folder, said = said_by(replace(config, log=("broken",)))
    assert read_json(folder / "run.json")["status"] == "finished"
    assert said.count("warning: --log broken failed (ConnectionError: no route to host) and is left out") == 1
    assert [number for number, _ in handed_over(calls)] == list(range(1, 9)) and calls("finish") == []
    monkeypatch.setattr(Broken, "task", Recorder.task)
    _, said = said_by(replace(config, log=("broken",)))
    assert "finished already" in said and "log: broken" in said
    assert [number for number, _ in handed_over(calls)] == list(range(1, 13))
    assert [after for after, *_ in calls("task")] == [0, 1, 2, 3] and len(calls("finish")) == 1
    # A logger that is named for the first time gets the whole run.
    said_by(config)
    assert len(handed_over(calls)) == 24 and not calls("start")[-1].resumed


def test_on_a_gpu_updates_are_delivered_where_the_loop_has_waited(calls, monkeypatch):
    delivered = []
    plugin = LiveUpdates([1], 0)
    monkeypatch.setattr(plugin, "_deliver", lambda strategy: delivered.append(len(strategy.history)))
    strategy = type("S", (), {"history": [], "device": type("D", (), {"type": "cuda"})})
    for _ in range(45):
        plugin.before_training_iteration(strategy)
        strategy.history.append({})
    assert delivered == [20, 40]
    monkeypatch.setattr("harness.loggers.live_updates.SECONDS", 1e9)
    plugin.before_training_iteration(strategy)
    assert delivered == [20, 40]


def test_terms_on_the_device_become_numbers():
    import torch

    from strategies.engine.losses import numbers

    history = [{"iteration": 1, "drift": torch.tensor([0.25])}, {"iteration": 2, "drift": 3.0}, {"iteration": 3, "loss": 1.0}]
    losses = [torch.tensor(0.5, requires_grad=True).detach(), torch.tensor(2.0), torch.tensor(9.0)]
    assert numbers(history, losses) == [
        {"iteration": 1, "drift": 0.25, "loss": 0.5},
        {"iteration": 2, "drift": 3.0, "loss": 2.0},
        {"iteration": 3, "loss": 1.0},
    ]
    assert numbers([], []) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--log", "tensorbord"], "Unknown logger 'tensorbord'. Did you mean tensorboard?"),
        (["--log", "csv,csv"], "--log names csv twice."),
        (["--log", "none.py:Mine"], "There is no logger file 'none.py'."),
        (["--log", "absent"], "--log absent needs no_such_library, which is not installed: pip install no-such-library."),
        (["--log", "other"], "The logger 'other' is not a subclass of harness.loggers.Logger"),
    ],
)
def test_mistakes(words, sentence, capsys, monkeypatch):
    lacking = type("Absent", (Logger,), {"libraries": ("no_such_library",), "install": "pip install no-such-library"})
    monkeypatch.setitem(LOGGERS._objects, "absent", lacking)
    monkeypatch.setitem(LOGGERS._objects, "other", dict)
    assert cli.main(["bench", "mtil", "--quiet", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_and_a_configuration_that_names_it(tmp_path, monkeypatch, capsys, config):
    (tmp_path / "mine.py").write_text("from harness.loggers import Logger\nclass Mine(Logger):\n    pass\n")
    (tmp_path / "run.toml").write_text('benchmark = "mtil"\nlog = ["mine.py"]\n')
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--config", "run.toml", "--quiet"]) == 2
    assert "whose code would be run" in capsys.readouterr().err
    from harness.run.loggers_of_run import logger_classes

    kinds = logger_classes(resolve(replace(config, log=("mine.py:Mine", "csv"))))
    assert list(kinds) == ["Mine", "csv"]
    with pytest.raises(UserError, match=r"Unknown logger in mine\.py 'Ours'"):
        logger_classes(resolve(replace(config, log=("mine.py:Ours",))))
