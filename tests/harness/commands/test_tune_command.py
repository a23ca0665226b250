"""`tune` and `--split val`, with runs in this process in place of processes."""

import csv
import dataclasses
import json
import shlex

import pytest

import cli
from harness.commands import tune
from harness.commands.bench import configs, run_parser
from harness.config.config_file import read_file
from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.leaderboard import leaderboard
from harness.run.loop import run as run_here
from harness.sweep.scheduler import Ending

pytest.importorskip("optuna")


class Sealed:
    """A test split whose labels are known and whose images nobody may read."""

    def __init__(self, dataset):
        self.targets = list(dataset.targets)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        raise AssertionError("a test image was read")


class Here:
    """Runs `bench` in this process."""

    slots, stays, where = 1, False, ""
    runs = 0

    def start(self, run, fresh):
        Here.runs += 1
        (config,) = configs(run_parser().parse_args(list(run.arguments)))
        run_here(config, Screen(quiet=True))
        return self

    def poll(self):
        return Ending(0)

    def adopt(self, run):
        return None

    def interrupt(self):
        pass

    def kill(self):
        pass

    def close(self):
        pass


@pytest.fixture
def sealed(toy_domain, monkeypatch):
    """A registered benchmark `sealed`: two tasks, a held-out domain and a target. Reading a test image fails."""
    from benchmarks import BENCHMARKS
    from benchmarks.plan import Built, StreamPlan

    def domain(name, seed):
        made = toy_domain(name, 2, seed=seed)
        return dataclasses.replace(made, test=Sealed(made.test), ood=Sealed(made.test))

    red, green, grey, target = (domain(name, i) for i, name in enumerate(("red", "green", "grey", "target")))

    def stream(ask):
        return StreamPlan(
            "sealed",
            "mini",
            "I",
            ("red", "green"),
            ("grey", "target"),
            lambda progress, splits, held=("test",): Built([red, green], [grey, target]),
            protocol=ask.protocol or "task",
            targets=("target",),
        )

    monkeypatch.setitem(BENCHMARKS._objects, "sealed", stream)
    return "sealed"


@pytest.fixture
def words(sealed, model_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "make_backend", lambda config: Here())
    return (
        f"{sealed} --strategy finetune --model {model_directory} --measures iimm --out {tmp_path / 'r'} "
        "--set iterations=1 batch_size=4 warmup=0"
    )


@pytest.mark.slow
def test_a_search_reads_no_test_image_and_writes_settings(words, tmp_path, capsys):
    command = f"tune {words} --val-limit 6 --space lr=1e-6,1e-3 --metric diagonal --prune-after 1"
    assert cli.main(shlex.split(command)) == 0
    shown = capsys.readouterr().out
    [folder] = (tmp_path / "r").glob("sealed-mini-I/finetune-*")
    assert f"next: python cli.py bench sealed --config {folder / 'settings.toml'}" in shown
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["lr"], row["tasks"]) for row in rows] == [("finished", "1e-6", "2"), ("finished", "1e-3", "2")]
    best = max(rows, key=lambda row: float(row["score"]))
    assert float(read_file(str(folder / "settings.toml"))["options"]["lr"]) == float(best["lr"])

    # The record says what was scored, and the score follows from it.
    records = {json.loads(p.read_text())["identity"]["options"]["lr"]: p.parent for p in folder.glob("runs/*/*/run.json")}
    assert len(records) == 2
    document = json.loads((records[float(best["lr"])] / "run.json").read_text())
    assert document["identity"]["split"] == "val" and document["identity"]["val_limit"] == 6
    assert document["identity"]["heldout"] == ["grey"] and document["samples"]["test"] == [6, 6]
    with (records[float(best["lr"])] / "accuracy.csv").open(newline="") as file:
        cells = {(row["after"], row["task"]): float(row["accuracy"]) for row in csv.DictReader(file)}
    assert (cells["1", "red"] + cells["2", "green"]) / 2 == pytest.approx(float(best["score"]))
    assert leaderboard([folder]).split.tolist() == ["val", "val"]

    # The same command has nothing to do.
    began = Here.runs
    assert cli.main(shlex.split(command)) == 0 and Here.runs == began
    assert "2 trials, 2 done already, 0 to do" in capsys.readouterr().out
    # The settings are those of a run on test images.
    (config,) = configs(cli.parser().parse_args(["bench", "--config", str(folder / "settings.toml")]))
    assert (config.strategy, config.split, config.seed) == ("finetune", "test", 0)
    with pytest.raises(AssertionError, match="a test image was read"):
        run_here(dataclasses.replace(config, out=str(tmp_path / "s")), Screen(quiet=True))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("", "tune needs the options to search: add --space"),
        ("--space l2=0.1,1", "Unknown option 'l2'"),
        ("--space lrr=log:1e-5:1", "Unknown option 'lrr'. Did you mean lr"),
        ("--space lr=log:1:1e-5", "--space lr=log:1:1e-5 is reversed: write log:1e-5:1."),
        ("--space weight_decay=float:-1:5", "weight_decay must be at least 0, got -1.0"),
        ("--space label_smoothing=float:0:2", "label_smoothing must be at most 1, got 2.0"),
        ("--space batch_size=4,8", "--set fixes batch_size, and --space searches it: leave one out."),
        ("--space lr=1e-5,1 --metric avg", "Unknown metric 'avg'"),
        ("--space lr=1e-5,1 --metric cil_average", "sealed does not define the metric cil_average"),
        ("--space lr=1e-5,1 --metric last --prune-after 1", "last is known only after the last one"),
        ("--space lr=1e-5,1 --prune-after 2", "--prune-after 2 stops nothing: there are 2 tasks"),
        ("--space lr=1e-5,1 --split test", "tune scores validation images only"),
        ("--space lr=1e-5,1 --fresh", "tune has no --fresh"),
        ("--space lr=1e-5,1 --set beta1=0,0.5", "--set gives several values of beta1: search it with --space."),
        ("--space lr=1e-5,1 --trials 0", "--trials must be at least 1"),
        ("--space lr=1e-5,1 --ray-address x", "--ray-address is only for --backend ray"),
        ("--space lr=1e-5,1 --backend slurm", "Unknown backend 'slurm'"),
    ],
)
def test_mistakes_are_reported_before_anything_starts(more, message, words, tmp_path, capsys):
    assert cli.main(["tune", *shlex.split(f"{words} {more}")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("perennial: ") and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_the_search_of_other_values_has_another_folder(words):
    def folder(more):
        arguments = cli.parser().parse_args(["tune", *shlex.split(f"{words} {more}")])
        return tune.make_plan(arguments, tune.checked(arguments)).folder

    first = folder("--space lr=log:1e-5:1 --trials 3")
    assert folder("--space lr=log:1e-5:1 --trials 9") == first, "more trials continue it"
    others = ["--space lr=log:1e-5:2", "--space lr=log:1e-5:1 --metric last", "--space lr=log:1e-5:1 --seed 0 1"]
    assert len({first, *map(folder, others)}) == 4


def test_no_finished_trial_is_an_error(words, capsys, monkeypatch):
    def broken(self, run, fresh):
        raise OSError("no space left")

    monkeypatch.setattr(Here, "start", broken)
    assert cli.main(["tune", *shlex.split(f"{words} --space lr=1e-5,1 --retries 0 --quiet")]) == 1
    assert "perennial: no trial has finished: it cannot be started" in capsys.readouterr().err


def test_runs_on_validation_images_have_keys_of_their_own():
    def identity(**changes):
        return outline(RunConfig("mtil", "finetune", **changes)).identity()

    usual = identity()
    assert "split" not in usual and "val_limit" not in usual, "older runs keep their keys"
    assert identity(split="val") == {**usual, "split": "val"}
    assert identity(split="val", val_limit=9) == {**usual, "split": "val", "val_limit": 9}
