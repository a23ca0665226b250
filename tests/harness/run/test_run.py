"""A whole run on a toy benchmark: its files, and its state after a kill."""

import io
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock
from rich.console import Console

from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records import files as records
from harness.records.files import read_csv
from harness.records.leaderboard import leaderboard
from harness.records.schema import check_schema, schema
from harness.run import checkpoint, state
from harness.run import loop as runner
from harness.run.loop import run
from metrics import matrix
from metrics.plugins import MeasuresBeforeTraining
from models.registry import UserError
from strategies import STRATEGIES, Strategy
from strategies.engine.losses import NonFiniteLoss

QUICK = {"iterations": 3, "batch_size": 8, "warmup": 1, "lr": 0.003}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path, monkeypatch, reference):
    monkeypatch.setattr(runner, "load_reference", lambda *a: reference)
    return RunConfig(
        toy_benchmark,
        "zscl",
        model=str(model_directory),
        options=QUICK,
        out=str(tmp_path / "results"),
        measure_n=10,
        device="cpu",
    )


@pytest.fixture
def quiet():
    return Screen(quiet=True)


def table(folder, name="accuracy"):
    return read_csv(folder / f"{name}.csv")


@pytest.mark.slow
def test_the_weights_of_every_task_are_kept_if_asked_for(config, quiet, tmp_path):
    folder = run(replace(config, strategy="finetune"), quiet).folder
    assert checkpoint.kept(folder / "checkpoint") == (3,)
    said = io.StringIO()
    every = replace(config, strategy="finetune", keep="all")
    assert run(every, Screen(console=Console(file=said))).skipped
    assert "kept the weights after task 3 of 3; --fresh --keep all repeats it" in said.getvalue()
    assert run(replace(every, fresh=True), quiet).folder == folder, "the same key"
    assert checkpoint.kept(folder / "checkpoint") == (1, 2, 3)


@pytest.mark.slow
def test_the_record(config, quiet):
    result = run(config, quiet)
    rows = table(result.folder)
    assert [(r["after"], r["stream"], r["task"]) for r in rows] == [
        (str(after), stream, task)
        for after in range(4)
        for stream, task in (("test", "red"), ("test", "green"), ("test", "blue"), ("heldout", "grey"))
    ]
    assert all(float(r["accuracy"]) == pytest.approx(100 * int(r["correct"]) / int(r["n"])) and r["n"] == "24" for r in rows)
    measures = table(result.folder, "measures")
    assert [m["measure"] for m in measures] == [
        "iimm",
        "iimm_intra",
        "iimm_inter",
        "iimm_zero_shot",
        "silhouette",
        "correct_pair",
        "cka",
        "retention",
    ] * 3
    assert {m["n"] for m in measures if m["measure"] != "retention"} == {"10"}
    assert [m["measure"] for m in measures if m["when"] == "after"] == ["cka", "retention"] * 3
    retained = [(m["when"], m["task"], m["n"]) for m in measures if m["measure"] == "retention"]
    assert retained == [("after", "red", "3"), ("after", "green", "2"), ("after", "blue", "1")], "tasks counted"
    losses = table(result.folder, "train")
    assert [(r["after"], r["iteration"]) for r in losses] == [(str(j), str(i)) for j in (1, 2, 3) for i in (1, 2, 3)]
    assert list(losses[0])[:4] == ["after", "iteration", "loss", "lr"] and "image_loss" in losses[0]

    document = json.loads((result.folder / "run.json").read_text())
    assert document["status"] == "finished" and document["error"] is None
    R = np.array([[float(r["accuracy"]) for r in rows if r["after"] == str(j) and r["stream"] == "test"] for j in range(4)])
    held = np.array(
        [[float(r["accuracy"]) for r in rows if r["after"] == str(j) and r["stream"] == "heldout"] for j in range(4)]
    )
    expected = {
        "transfer": matrix.transfer(R[1:]), "average": matrix.average(R[1:]), "last": matrix.last(R[1:]),
        "forgetting": matrix.forgetting(R[1:]), "bwt": matrix.backward_transfer(R[1:]),
        "retention": matrix.retention(R[1:], R[0], held[1:], held[0]).summary,
        "iimm_mean": np.mean([float(m["value"]) for m in measures if m["measure"] == "iimm_zero_shot"]),
    }  # fmt: skip
    assert document["summary"] == pytest.approx(expected) and result.summary == pytest.approx(expected)
    assert document["trainable_params"] == document["parameters"] - 1, "all but the logit scale"
    assert document["samples"] == {"train": [48] * 3, "val": [12] * 3, "test": [24] * 3, "heldout": [24]}
    assert document["train_seconds"] > 0 and document["eval_seconds"] > 0 and document["images_per_second"] > 0
    values = [float(m["value"]) for m in measures if m["measure"] == "retention"]
    assert np.mean(values) == pytest.approx(document["summary"]["retention"])
    assert checkpoint.latest(result.folder / "checkpoint")["after"] == 3
    # The published schema describes every field that a run writes.
    check_schema(result.folder)
    declared = schema()["properties"]["run.json"]["properties"]
    assert set(document) <= set(declared)
    assert all(set(document[name]) <= set(declared[name]["properties"]) for name in ("identity", "request", "summary"))


@pytest.mark.slow
def test_a_finished_run_is_skipped_and_fresh_repeats_it(config, quiet):
    first = run(config, quiet)
    before = (first.folder / "run.json").read_bytes()
    again = run(config, quiet)
    assert again.skipped and again.summary == first.summary and (first.folder / "run.json").read_bytes() == before
    rows = table(first.folder)
    fresh = run(replace(config, fresh=True), quiet)
    assert not fresh.skipped and table(first.folder) == rows, "the same seed gives the same matrix"


@pytest.mark.slow
def test_leftovers_of_a_killed_process_are_removed_by_the_next_command(config):
    folder = run(config, Screen(quiet=True)).folder
    before = sorted(str(path) for path in folder.rglob("*"))
    assert not any("within" in path for path in before)
    (folder / "checkpoint" / "within" / "after-3").mkdir(parents=True)
    (folder / "checkpoint" / "within" / "after-3" / "encoder.safetensors").write_bytes(b"x")
    (folder / ".accuracy.csv.ab12_xyz").write_text("x")
    assert run(config, Screen(quiet=True)).skipped
    assert sorted(str(path) for path in folder.rglob("*")) == before


MOMENTS = {
    "in the first evaluation": (runner, "_evaluate", 1),
    "while the zero-shot checkpoint is written": (checkpoint, "save_state", 1),
    "after a checkpoint is written, before it counts": (checkpoint, "commit", 2),
    "between the tables": (records.GrowingTable, "write", 5),
    "while evaluating after task 2": (runner, "_evaluate", 3),
    "after the last checkpoint, before the document": (state, "write_json", 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("strategy", ["zscl", "wise-ft"])
def test_killed_at_any_moment_it_continues_to_the_identical_matrix(
    config, quiet, moment, strategy, killed, monkeypatch, tmp_path
):
    config = replace(config, strategy=strategy)
    whole = run(replace(config, out=str(tmp_path / "whole")), quiet)
    killed(lambda: run(config, quiet), *MOMENTS[moment])
    done = (checkpoint.latest(resolve(config).folder / "checkpoint") or {"after": 0})["after"]
    trained, train_one = [], Strategy._train_exp
    with monkeypatch.context() as patch:
        patch.setattr(
            Strategy,
            "_train_exp",
            lambda self, e, *a, **k: trained.append(e.domain.name) or train_one(self, e, *a, **k),
        )
        result = run(config, quiet)
    assert trained == ["red", "green", "blue"][done:], "what is finished is not trained again"
    for name in ("accuracy", "measures"):
        assert table(result.folder, name) == table(whole.folder, name)
    losses = [[float(r["loss"]) for r in table(r.folder, "train")] for r in (result, whole)]
    assert losses[0] == losses[1] and len(losses[0]) == 9
    assert result.summary == whole.summary
    assert json.loads((result.folder / "run.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_state_of_a_strategy_survives(config, quiet, killed):
    @STRATEGIES.register("counting-losses")
    class Counting(Strategy):
        def before_run(self):
            self.sums = torch.zeros(2)

        def after_experience(self):
            self.sums = self.sums + torch.tensor([1.0, self.history[0]["loss"]])

        def state(self):
            return {**super().state(), "sums": self.sums, "note": "kept"}

        def load(self, state):
            assert state["note"] == "kept"
            self.sums = state["sums"]

    try:
        config = replace(config, strategy="counting-losses")
        killed(lambda: run(config, quiet), runner, "_evaluate", 3)
        folder = run(config, quiet).folder
        _, state = checkpoint.load_state(folder / "checkpoint", 3)
        assert state["method"]["sums"][0] == 3 and state["heads"] == {}
    finally:
        STRATEGIES._objects.pop("counting-losses")


def test_zero_shot_repeats_row_0_and_evaluates_once(config, quiet, monkeypatch):
    calls = []
    original = runner._evaluate
    monkeypatch.setattr(runner, "_evaluate", lambda *a: calls.append(1) or original(*a))
    result = run(replace(config, strategy="zero-shot"), quiet)
    rows = table(result.folder)
    cells = [[(r["stream"], r["task"], r["accuracy"]) for r in rows if r["after"] == str(j)] for j in range(4)]
    assert cells[0] == cells[1] == cells[2] == cells[3] and len(calls) == 1
    assert result.summary["retention"] == pytest.approx(100) and result.summary["forgetting"] == 0
    document = json.loads((result.folder / "run.json").read_text())
    assert document["trainable_params"] == 0 and document["images_per_second"] is None
    measures = table(result.folder, "measures")
    assert len(measures) == 24 and {m["value"] for m in measures if m["measure"] == "retention"} == {"100.0"}


@pytest.mark.slow
def test_other_measures(config, quiet):
    result = run(replace(config, strategy="finetune", measures=("nce", "modality_gap")), quiet)
    measures = table(result.folder, "measures")
    assert [m["measure"] for m in measures] == ["modality_gap", "nce", "retention"] * 3
    document = json.loads((result.folder / "run.json").read_text())
    assert document["request"]["measures"] == ["modality_gap", "nce"] and document["summary"]["iimm_mean"] is None
    again = run(replace(config, strategy="finetune", measures=tuple(document["request"]["measures"])), quiet)
    assert again.skipped and again.folder == result.folder


@pytest.mark.slow
def test_training_time_does_not_include_measuring(config, quiet, monkeypatch):
    seconds, original = [], MeasuresBeforeTraining.after_training_exp

    def slow(self, strategy):
        time.sleep(0.5)
        found = original(self, strategy)
        self.seconds += 0.5
        seconds.append(strategy.seconds)
        return found

    monkeypatch.setattr(MeasuresBeforeTraining, "after_training_exp", slow)
    result = run(replace(config, strategy="finetune"), quiet)
    document = json.loads((result.folder / "run.json").read_text())
    assert len(seconds) == 3 and document["train_seconds"] < sum(seconds) + 1, "without the half seconds of sleep"


@pytest.mark.slow
def test_a_diverging_run_keeps_the_last_good_state(config, quiet):
    @STRATEGIES.register("diverging")
    class Diverging(Strategy):
        def compute_loss(self, batch):
            return super().compute_loss(batch) * (float("nan") if self.trained == 1 else 1)

    try:
        config = replace(config, strategy="diverging")
        with pytest.raises(NonFiniteLoss, match="'green'"):
            run(config, quiet)
        folder = resolve(config).folder
        document = json.loads((folder / "run.json").read_text())
        assert document["status"] == "failed" and "NonFiniteLoss" in document["error"]
        assert {r["after"] for r in table(folder)} == {"0", "1"}
        weights, _ = checkpoint.load_state(folder / "checkpoint", 1)
        assert all(torch.isfinite(w).all() for w in weights.values())
        assert leaderboard([config.out]).empty, "only finished runs count"
    finally:
        STRATEGIES._objects.pop("diverging")


@pytest.mark.slow
def test_an_interrupt_is_recorded(config, quiet, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_evaluate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config, quiet)
    assert json.loads((resolve(config).folder / "run.json").read_text())["status"] == "interrupted"
    assert not run(config, quiet).skipped


@pytest.mark.slow
def test_damaged_records_are_named(config, quiet):
    folder = run(config, quiet).folder
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**document, "status": "running"}))
    (folder / "accuracy.csv").unlink()
    with pytest.raises(UserError, match=r"accuracy\.csv does not hold rows 0 to 3"):
        run(config, quiet)


@pytest.mark.slow
def test_fresh_repairs_a_damaged_record(config, quiet):
    folder = run(config, quiet).folder
    rows = table(folder)
    (folder / "run.json").write_text('{"half')
    with pytest.raises(UserError, match="--fresh starts over"):
        run(config, quiet)
    assert not run(replace(config, fresh=True), quiet).skipped and table(folder) == rows


@pytest.mark.slow
def test_a_mistake_loses_no_old_record(config, quiet):
    folder = run(config, quiet).folder
    before = (folder / "run.json").read_bytes()
    with pytest.raises(UserError, match="no device cuda:99"):
        run(replace(config, fresh=True, device="cuda:99"), quiet)
    assert (folder / "run.json").read_bytes() == before


def test_two_processes_do_not_share_a_folder(config, quiet):
    folder = resolve(config).folder
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(UserError, match="Another process"):
        run(config, quiet)


@pytest.mark.slow
def test_seeds_in_one_process_are_those_of_two(config, quiet, tmp_path):
    """No state leaks from one run into the next."""
    alone = run(replace(config, seed=1, out=str(tmp_path / "alone")), quiet)
    run(config, quiet)
    after = run(replace(config, seed=1), quiet)
    assert table(after.folder) == table(alone.folder)
    assert [r["loss"] for r in table(after.folder, "train")] == [r["loss"] for r in table(alone.folder, "train")]


@pytest.mark.slow
def test_random_weights_are_the_same_after_a_kill(config, quiet, killed, tmp_path):
    config = replace(config, pretrained="random")
    whole = run(replace(config, out=str(tmp_path / "whole")), quiet)
    killed(lambda: run(config, quiet), runner, "_evaluate", 1)
    assert table(run(config, quiet).folder) == table(whole.folder)


@pytest.mark.slow
def test_on_screen(config):
    text = io.StringIO()
    run(config, Screen(console=Console(file=text, width=200), live=False))
    shown = text.getvalue()
    assert "toy, mini edition, Order I: zscl, seed 0" in shown and "held out: grey" in shown
    assert shown.count("after ") >= 4 and "after 2 green: red=" in shown
    assert "Transfer" in shown and "zero-shot" in shown and "record: " in shown
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True)
    run(replace(config, fresh=True), Screen(console=console))
    assert "(grey)" in text.getvalue() and "3 blue" in text.getvalue()
    text = io.StringIO()
    run(replace(config, fresh=True), Screen(quiet=True, console=Console(file=text)))
    assert text.getvalue() == ""
