"""The trials of a search: their order, scores, ends, and what an interrupted search leaves."""

import csv
import sys
import tomllib
from functools import partial

import pytest

from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.report.figure import save
from harness.sweep.grid import Run
from harness.sweep.scheduler import Outcome, run_missing
from harness.tune.results import trials_figure, write_settings
from harness.tune.score import METRICS
from harness.tune.search import Search
from harness.tune.space import Dimension, grid_of
from harness.tune.trial_study import FAILED, FINISHED, STOPPED, Entry, TrialStudy, best_of, import_optuna
from harness.tune.tune_screen import TuneScreen
from models.registry import UserError

pytest.importorskip("optuna")
AVERAGE = METRICS["average"]
RANGES = [Dimension(("l2",), (), 0.01, 10.0, log=True), Dimension(("lr",), ("1e-5", "1e-4"))]
GRID = [Dimension(("l2",), ("1", "2", "3"))]


class Finished:
    """A backend for runs whose records are finished already, so that it starts nothing."""

    slots, stays = 1, False

    def adopt(self, run):
        return None

    def start(self, run, fresh):
        raise AssertionError(f"{run} has a record")

    def close(self):
        pass


def study(folder, space=RANGES, seed=0, grid=None):
    folder.mkdir(exist_ok=True)
    return TrialStudy(folder, space, True, seed, grid)


@pytest.fixture
def make_runs(honest, tmp_path):
    """Make finished records of two tasks whose average is 10 times l2, plus the seed."""

    def make(seeds, values):
        runs = []
        for seed in seeds:
            identity = {
                "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a", "b"], "heldout": [], "strategy": "zscl",
                "strategy_sha256": None, "options": {"l2": values["l2"]}, "model": "tiny", "pretrained": None,
                "tuning": "full", "seed": seed, "limit": None, "measure_n": 10,
            }  # fmt: skip
            right = round(10_000 * float(values["l2"])) + 1000 * seed
            counts = {(after, "test", task): (right, 100_000) for after in range(3) for task in "ab"}
            folder = honest(tmp_path / "runs", identity, counts)
            (folder / "checkpoint").mkdir(exist_ok=True)
            runs.append(Run("zscl", "I", seed, folder, tmp_path / "runs" / "logs" / "x.log", (), (f"l2={values['l2']}",)))
        return runs

    return make


def searched(search, screen=None):
    run_missing([], Finished(), screen or TuneScreen(Screen(quiet=True), search, 1), pause=0, source=search)
    return search


def test_a_grid_is_tried_in_order_and_continued(make_runs, tmp_path, capsys):
    make = partial(make_runs, (0, 2))
    first = searched(Search(study(tmp_path, GRID, grid=grid_of(GRID)), make, AVERAGE, 2, "ab"))
    assert [(entry.values["l2"], entry.state) for entry in first.ended] == [("1", FINISHED), ("2", FINISHED)]
    search = Search(study(tmp_path, GRID, grid=grid_of(GRID)), make, AVERAGE, 3, "ab")
    assert search.before == 2
    searched(search, screen := TuneScreen(Screen(), search, 1, live=False))
    # 10 l2 + seed, of seeds 0 and 2.
    assert [entry.score for entry in search.ended] == pytest.approx([11, 21, 31])
    assert search.best.number == 2 and [entry.tasks for entry in search.ended] == [2, 2, 2]
    assert not list(tmp_path.rglob("checkpoint")), "the weights of trials are removed"
    screen.summary(", 2 seeds")
    shown = capsys.readouterr().out
    assert "3 trials, 2 done already, 1 to do" in shown
    assert "trial 2, l2=3: average 31.00 in 0 s; 3 of 3 trials, best 31.00 (trial 2, l2=3)" in shown
    assert "the best trials by average on validation images, 2 seeds" in shown and "3 finished" in shown


def test_an_interrupted_search_makes_the_same_trials(make_runs, tmp_path):
    make = partial(make_runs, (0,))
    whole = searched(Search(study(tmp_path / "whole"), make, AVERAGE, 6, "ab"))
    for trials in (2, 4):
        searched(Search(study(tmp_path / "parts"), make, AVERAGE, trials, "ab"))
        # Killed after it had asked for a trial.
        study(tmp_path / "parts").ask()
    parts = searched(Search(study(tmp_path / "parts"), make, AVERAGE, 6, "ab"))
    assert [(e.values, e.score) for e in parts.ended] == [(e.values, e.score) for e in whole.ended]
    assert len({entry.values["l2"] for entry in whole.ended}) == 6
    other = study(tmp_path / "other", seed=1).ask()[1]
    assert other != whole.ended[0].values, "another seed, another trial"


def test_the_best_of_scores_where_less_is_better():
    entries = [Entry(0, {}, FINISHED, 3.0), Entry(1, {}, FINISHED, -1.0), Entry(2, {}, STOPPED, -9.0), Entry(3, {}, FAILED)]
    assert best_of(entries, -1).number == 1 and best_of(entries, 1).number == 0 and best_of(entries[2:], 1) is None


def test_a_repeated_trial_is_not_run_again(make_runs, tmp_path):
    twice = [Dimension(("l2",), ("1", "2"))]
    search = searched(Search(study(tmp_path, twice), partial(make_runs, (0,)), AVERAGE, 5, "ab"))
    notes = [entry.note for entry in search.ended]
    assert len(notes) == 5 and sum(note.startswith("the values of trial ") for note in notes) >= 3
    assert {entry.score for entry in search.ended} <= {10.0, 20.0}


def outcome_of(search, state="running"):
    return Outcome(search.next_run(), state)


def write_row(folder, percent):
    rows = [(after, "test", task, percent, percent, 100) for after in (0, 1) for task in "ab"]
    lines = ["after,stream,task,accuracy,correct,n", *(",".join(map(str, row)) for row in rows)]
    (folder / "accuracy.csv").write_text("\n".join(lines) + "\n")


def test_a_trial_that_falls_behind_is_stopped(make_runs, tmp_path):
    """Five trials have 50 % after the first task. The sixth one has 10 %, and the seventh 60 %."""
    space = [Dimension(("l2",), tuple("1234567"))]
    trials = study(tmp_path, space, grid=grid_of(space))
    for number in range(5):
        trials.ask()
        trials.report(number, 1, 50.0)
        trials.tell(Entry(number, {}, FINISHED, 50.0))
    search = Search(trials, partial(make_runs, (0, 1)), AVERAGE, 7, "ab", prune_after=1)
    outcomes = [outcome_of(search)]
    write_row(outcomes[0].run.folder, 10)
    search.look(outcomes)
    search.look(outcomes)
    assert outcomes[0].stop and len(search.ended) == 5
    outcomes[0].state = "stopped"
    search.look(outcomes)
    assert search.ended[-1][2:5] == (STOPPED, None, 1) and search.ended[-1].note == "below the median after 1 of 2 tasks"
    assert [entry.score for entry in trials.entries()] == [50.0] * 5 + [10.0], "Optuna keeps the score so far"

    outcomes.append(outcome_of(search))
    assert outcomes[1].run.varied == ("l2=7",), "the second seed of a stopped trial is not run"
    write_row(outcomes[1].run.folder, 60)
    for _ in range(2):
        search.look(outcomes)
    assert not outcomes[1].stop


def test_a_failed_trial_does_not_end_the_search(make_runs, tmp_path):
    search = Search(study(tmp_path, GRID, grid=grid_of(GRID)), partial(make_runs, (0, 1)), AVERAGE, 3, "ab")
    outcomes = [outcome_of(search, "failed"), outcome_of(search)]
    outcomes[0].note = "out of memory"
    search.look(outcomes)
    assert outcomes[1].stop and not search.ended, "the other seed is stopped first"
    outcomes[1].state = "stopped"
    search.look(outcomes)
    assert search.ended[0][1:4] == ({"l2": "1"}, FAILED, None) and search.ended[0].note == "out of memory"

    def refuse(values):
        raise UserError("warmup is longer than the training.")

    search.make_runs = refuse
    assert search.next_run() is None and [entry.state for entry in search.ended] == [FAILED] * 3
    assert search.best is None and search.ended[2].note == "warmup is longer than the training."


def test_a_metric_without_a_value_fails_the_trial(make_runs, tmp_path):
    search = searched(Search(study(tmp_path, GRID, grid=grid_of(GRID)), partial(make_runs, (0,)), METRICS["cil_last"], 1, "ab"))
    assert search.ended[0].state == FAILED and search.ended[0].note == "it has no score"


@pytest.mark.slow
def test_results(tmp_path):
    space = [*RANGES, Dimension(("iterations",), (), 20, 80, whole=True)]
    entries = [
        Entry(0, {"l2": "0.1", "lr": "1e-5", "iterations": "20"}, FINISHED, 60.123456789, 2, 3.21),
        Entry(1, {"l2": "2.0", "lr": "1e-4", "iterations": "40"}, FINISHED, 61.0, 2, 3.0),
        Entry(2, {"l2": "9.0", "lr": "1e-4", "iterations": "80"}, STOPPED, 10.0, 1, 1.0, "below"),
        Entry(3, {"l2": "9.5", "lr": "1e-4", "iterations": "80"}, FAILED, None, 0, 1.0, "=1+1"),
    ]
    figure = trials_figure(entries, space, AVERAGE, "Search")
    paths = save(figure, tmp_path)
    assert sorted(path.name for path in paths) == ["trials.csv", "trials.png", "trials.svg"]
    assert "Best: average 61.00 with l2 2.0, lr 1e-4, iterations 40." in figure.description
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["trial", "state", "score", "tasks", "seconds", "l2", "lr", "iterations", "note"]
    assert [row["score"] for row in rows] == ["60.123456789", "61.0", "10.0", ""] and rows[3]["note"] != "=1+1"
    svg = (tmp_path / "trials.svg").read_text()
    assert "mathdefault" not in svg and ">0.01<" in svg and ">10<" in svg
    assert "best so far" in svg and "stopped" in svg and "average on validation images" in svg
    assert trials_figure(entries[2:], space, AVERAGE, "Search") is None


def test_the_settings_file(tmp_path):
    from harness.config.config_file import read_file

    path = tmp_path / "settings.toml"
    options = {"l2": "1e-05", "iterations": "40", "lr_by_task.digits": ".5", "best_pass": "true", "decay": "none"}
    config = RunConfig(
        "mtil", "lora.py:Mine", order=("a", "b"), seed=3, split="val", val_limit=9, tuning="lora", limit=40, options=options,
        out="x", plugins=("ewc",),
    )  # fmt: skip
    write_settings(path, config, ["Chosen by\nsomething"])
    assert path.read_text().startswith('# Chosen by something\nbenchmark = "mtil"\n')
    assert tomllib.loads(path.read_text())["options"] == {**options, "l2": 1e-05, "iterations": 40, "best_pass": True}
    read = read_file(str(path))
    assert read.pop("options") and (read.pop("benchmark"), read.pop("strategy")) == ("mtil", "lora.py:Mine")
    assert read == {"order": ("a", "b"), "tuning": "lora", "limit": 40, "plugins": ("ewc",)}


def test_a_damaged_journal_and_a_missing_optuna(tmp_path, monkeypatch):
    study(tmp_path).ask()
    journal = tmp_path / "study.journal"
    journal.write_text(journal.read_text().replace("{", "x", 3))
    with pytest.raises(UserError, match=r"study\.journal is damaged"):
        study(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"perennial\[tune\]"):
        import_optuna()
