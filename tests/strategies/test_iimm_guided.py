"""`iimm-guided`: alpha by formula from a study's lines without the task's domain, and the checks of a study."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.data.sampling import sample
from benchmarks.scenario import scenario
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from metrics import study_table
from metrics.iimm import iimm
from models.loading.load import load
from models.registry import UserError
from models.transforms import evaluation_transform
from strategies.engine.strategy import Strategy
from strategies.iimm_guided import IIMMGuided, balance, expect

QUICK = {"iterations": 3, "lr": 1e-3, "batch_size": 8, "warmup": 1}
ROWS = pd.DataFrame(
    {
        "domain": ["a", "b", "c", "d", "e"],
        "iimm": [0.1, 0.2, 0.3, 0.4, 0.5],
        "gain_val": [2.0, 4.0, 6.0, 8.0, 90.0],
        "forgetting_val": [4.0, 3.0, 2.0, 1.0, -90.0],
    }
)


@pytest.fixture
def model(model_directory):
    return load(str(model_directory))


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("red", 3), toy_domain("b", 5, seed=1)])


@pytest.mark.parametrize(("gain", "forgetting", "weight"), [(10, 5, 1), (10, 5, 4), (3, 40, 0.5), (7, 0, 1), (7, -3, 2)])
def test_balance_is_the_best_of_a_fine_grid(gain, forgetting, weight):
    grid = np.linspace(0, 1, 100_001)
    worth = gain * (2 * grid - grid**2) - weight * max(forgetting, 0) * grid**2
    assert balance(gain, forgetting, weight) == pytest.approx(grid[worth.argmax()], abs=1e-5)


@pytest.mark.parametrize("gain", [0.0, -4.0])
def test_no_gain_is_no_step(gain):
    assert balance(gain, 0.0, 1.0) == balance(gain, 5.0, 1.0) == 0.0


def test_expected_by_hand():
    """Lines 20 x and 5 - 10 x without e."""
    assert expect(ROWS, "iimm", 0.25, {"e", None}) == pytest.approx((5.0, 2.5, True))
    # Outside the range the value at its end counts.
    assert expect(ROWS, "iimm", 0.9, {"e"}) == pytest.approx((8.0, 1.0, False))
    assert expect(ROWS, "iimm", math.nan, {"e"}) == pytest.approx((5.0, 2.5, True))
    assert expect(ROWS, "iimm", 0.25, set()).gain != pytest.approx(5.0)
    with pytest.raises(UserError, match="has 3 other domains with iimm and gain_val; at least 4 are needed"):
        expect(ROWS, "iimm", 0.25, {"a", "e"})
    with pytest.raises(UserError, match="No regression line can be fitted to the study over iimm: all 5 values"):
        expect(ROWS.assign(iimm=0.5), "iimm", 0.25, set())


@pytest.mark.slow
def test_weights_by_formula(model, stream, trained, toy_study):
    """The first task replayed: its measure on the initial model, the lines without it, plain fine-tuning, interpolation."""
    first, start = stream.train_stream[0], {n: t.clone() for n, t in model.state_dict().items()}
    found = trained(IIMMGuided, model, [first], study=str(toy_study), weight=2.0, measure_n=20)
    [said] = found.searches

    model.load_state_dict(start)
    images = sample(first.domain.train, 20, 0)
    with torch.no_grad():
        pixels = torch.stack([evaluation_transform(model.preprocess)(image) for image, _ in images])
        x, t = model.encode_images(pixels), model.encode_texts(model.tokenize(first.domain.prompts(0)))
    value = iimm(x, t, torch.tensor([label for _, label in images])).score
    assert said["iimm"] == pytest.approx(value, abs=1e-6)
    rows = pd.read_csv(toy_study)
    rows = rows[rows.domain != "red"]
    at = np.clip(value, rows.iimm.min(), rows.iimm.max())
    gain, forgetting = (np.polyval(np.polyfit(rows.iimm, rows[c], 1), at) for c in ("gain_val", "forgetting_val"))
    alpha = gain / (gain + 2 * forgetting)
    assert said["gain"] == pytest.approx(gain) and said["forgetting"] == pytest.approx(forgetting)
    assert said["chosen"] == [pytest.approx(alpha)] and 0.1 < alpha < 1

    model.load_state_dict(start)
    tuned = trained(Strategy, model, [first]).encoder.state_dict()
    again = load(model.name)
    guided = trained(IIMMGuided, again, [first], study=str(toy_study), weight=2.0, measure_n=20)
    for name, tensor in guided.encoder.state_dict().items():
        torch.testing.assert_close(tensor, start[name] + alpha * (tuned[name] - start[name]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_each_task_by_the_model_then(model, stream, trained, toy_study):
    """The second task is measured on the model after the first, and alpha is at least `least`."""
    found = trained(IIMMGuided, model, stream.train_stream, study=str(toy_study), weight=1e6, least=0.25)
    assert [s["task"] for s in found.searches] == ["red", "b"]
    assert [s["chosen"] for s in found.searches] == [[0.25], [0.25]]
    alone = trained(IIMMGuided, load(model.name), stream.train_stream[1:], study=str(toy_study))
    assert alone.searches[0]["iimm"] != found.searches[1]["iimm"]


@pytest.mark.slow
def test_a_step_leaves_out_what_it_is_a_part_of(model, toy_domain, trained, toy_study):
    def gain(**parts):
        made = scenario([replace(toy_domain("step-1", 3), **parts)])
        return trained(IIMMGuided, load(model.name), made.train_stream, study=str(toy_study)).searches[0]["gain"]

    assert gain(part_of="red") == gain(name="red") != gain()


def test_notes(model, toy_domain, trained, toy_study):
    one = scenario([toy_domain("one", 1)]).train_stream
    found = trained(IIMMGuided, model, one, study=str(toy_study), iterations=4)
    assert found.notes == [
        "The study's cells had 3 updates; the tasks here have a different number.",
        "iimm of one is undefined (IIMM needs at least 2 classes, got 1): the study's mean outcomes are used.",
    ]
    assert found.searches[0]["iimm"] is None


@pytest.mark.slow
def test_what_a_study_must_be(model, stream, trained, toy_study, tmp_path, monkeypatch, toy_encoder):
    first, rows = stream.train_stream[:1], pd.read_csv(toy_study)

    def refused(match, changed=rows, encoder=None, **options):
        changed.to_csv(tmp_path / "table.csv", index=False)
        with pytest.raises(UserError, match=match):
            trained(IIMMGuided, load(model.name) if encoder is None else encoder, first, study=str(tmp_path), **options)

    refused("made with earlier weights of", rows.assign(weights="0"))
    refused("not with toy", encoder=toy_encoder())
    refused("The study has no column forgetting_val", rows.drop(columns="forgetting_val"))
    refused("no column logme", measure="logme")
    refused("no cells of the tuning full; it has lora", rows.assign(tuning="lora"))
    refused("has 3 other domains", rows[:4])
    refused("is not the table of a study", rows[["domain"]])
    monkeypatch.setattr(study_table, "FORTY_UPDATES", tmp_path / "absent.csv")
    with pytest.raises(UserError, match="No study ships with this version"):
        trained(IIMMGuided, load(model.name), first)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"weight": -1}, "weight must be at least 0"),
        ({"least": 1.5}, "least must be at most 1"),
        ({"measure_n": 1}, "measure_n must be at least 2"),
        ({"measure": "imm"}, "Did you mean iimm"),
    ],
)
def test_options(option, match):
    with pytest.raises((ValueError, UserError), match=match):
        IIMMGuided.Options(**option)


@pytest.mark.slow
def test_the_study_is_a_part_of_the_run(toy_benchmark, model_directory, toy_study, tmp_path):
    """Another table at the same path is another run. The record has the chosen alphas."""
    table = tmp_path / "table.csv"
    table.write_text(toy_study.read_text())
    options = {**QUICK, "study": str(table)}
    config = RunConfig(toy_benchmark, "iimm-guided", model=str(model_directory), options=options, out=str(tmp_path / "out"))
    before = resolve(config).key
    document = json.loads((run(config, Screen(quiet=True)).folder / "run.json").read_text())
    assert [s["task"] for s in document["searches"]] == ["red", "green", "blue"]
    table.write_text(toy_study.read_text().replace("plum", "pear"))
    assert resolve(config).key != before
    table.unlink()
    with pytest.raises(UserError, match=r"Cannot read .*table\.csv: the file or folder does not exist"):
        resolve(config)
    assert "files" not in resolve(replace(config, strategy="finetune", options=QUICK)).identity()
