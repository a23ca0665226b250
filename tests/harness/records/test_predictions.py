"""Predictions of a run are saved, also by a continued one, and scored under other protocols with the numbers of those runs."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import cli
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.predictions import rescore
from harness.records.run_check import Contradiction
from harness.records.runs import read_one
from harness.run.loop import run
from models.registry import UserError
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 2, "batch_size": 8, "warmup": 1, "lr": 0.003}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    model, out = str(model_directory), str(tmp_path / "results")
    return RunConfig(toy_benchmark, "finetune", model=model, options=QUICK, out=out, measure_n=4, device="cpu")


@pytest.mark.slow
def test_predictions_of_an_agnostic_run_give_the_numbers_of_the_other_protocols(config, tmp_path, killed, capsys):
    quiet = Screen(quiet=True)
    agnostic = replace(config, protocol="agnostic", save_predictions=True)
    killed(lambda: run(agnostic, quiet), Strategy, "_before_training_exp", 3)
    folder = run(agnostic, quiet).folder
    saved = read_one(folder / "run.json")
    for protocol in ("task", "class", "agnostic"):
        other = run(replace(config, protocol=protocol, out=str(tmp_path / protocol)), quiet).folder
        summary, scored = json.loads((other / "run.json").read_text())["summary"], rescore(saved, protocol)
        for name in ("transfer", "average", "last", "forgetting", "bwt"):
            assert scored.numbers[name] == pytest.approx(summary[name]), (protocol, name)
        assert scored.rows["after"].tolist() == [0, 1, 2, 3] and 0 <= scored.numbers["ece_average"] <= 100
        assert 0 <= scored.numbers["auroc_average"] <= 100
    rows = rescore(saved).rows
    assert rows["seen"][1] == rows["red"][1] and rows["unseen"][2] == rows["blue"][2] and np.isnan(rows["unseen"][3])

    frame = pd.read_parquet(folder / "predictions" / "after-2.parquet")
    assert len(frame) == 96 and set(frame["stream"]) == {"test", "heldout"} and set(frame["task"]) >= {"red", "grey"}
    red = frame[frame["task"] == "red"]
    right = (red["task_1"] == 1) & (red["class_1"] == red["label"])
    assert 100 * right.mean() == pytest.approx(saved.cells[2, "test", "red"])
    assert (frame.filter(like="probability_").diff(axis=1).iloc[:, 1:].fillna(-1) <= 0).all(axis=None)
    assert (red["image"].to_numpy() == np.arange(24)).all() and (frame["after"] == 2).all()

    table = tmp_path / "rows.csv"
    assert cli.main(["rescore", str(folder), "--protocol", "task", "--csv", str(table)]) == 0
    assert "harmonic" in capsys.readouterr().out
    assert pd.read_csv(table)["protocol"].tolist() == ["task"] * 4

    frame["label"] = (frame["label"] + 1) % 2
    frame.to_parquet(folder / "predictions" / "after-2.parquet")
    with pytest.raises(Contradiction, match=r"by accuracy\.csv it is"):
        rescore(saved)
    run(replace(agnostic, fresh=True, save_predictions=False), quiet)
    assert not (folder / "predictions").exists()


@pytest.mark.slow
def test_what_cannot_be_scored(config, capsys):
    quiet = Screen(quiet=True)
    folder = run(config, quiet).folder
    saved = read_one(folder / "run.json")
    with pytest.raises(UserError, match="no saved predictions of any row"):
        rescore(saved)
    shared = {**saved.document, "identity": {**saved.identity, "protocol": "agnostic", "duplicates": "merge"}}
    with pytest.raises(UserError, match=r"--duplicates merge, .* only be scored under its own protocol, agnostic"):
        rescore(replace(saved, document=shared), "task")
    with pytest.raises(UserError, match="evaluated under --protocol task, in which fewer classes compete than under agnostic"):
        rescore(saved, "agnostic")
    for words, message in (
        ([str(folder)], "No finished run there has saved predictions"),
        ([str(folder), "--protocol", "tsk"], "Did you mean task"),
        (["nowhere"], "There are no results at 'nowhere'"),
    ):
        assert cli.main(["rescore", *words]) == 2
        assert message in capsys.readouterr().err
