"""`predict` for a user's folder and for a domain of the study, from a synthetic study of a real model; and bad input."""

import io
import math

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

import models
from harness.display.screen import Screen
from harness.study import study_tables as tables
from harness.study.forecast import Advice
from harness.study.predict import PredictConfig, predict, within_reach
from harness.study.predict_screen import flags
from metrics import study_table
from metrics.iimm import iimm
from metrics.regression import fit
from metrics.regression import predict as at
from models.loading.local_files import weights_sha256
from models.registry import UserError

NAMES = ("closeups", "counting", "letters", "mnist", "shapes")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(full_roots, tmp_path):
    """30 pictures in three classes, 24 of them training images."""
    for label, name in enumerate(("birch", "oak", "pine")):
        for number in range(10):
            full_roots.save(tmp_path / "photos" / name / f"{number}.png", label, number)
    return tmp_path / "photos"


@pytest.fixture
def rows(model_directory):
    """A study of five domains around the toy model's IIMM, with synthetic outcomes."""
    x = np.linspace(-0.5, 1.2, 5)
    named = {"domain": NAMES, "edition": "mini", "tuning": "full", "strategy": "finetune", "seed": 0}
    named |= {"model": str(model_directory), "pretrained": "", "weights": weights_sha256(str(model_directory))}
    found = {"gain": 10 + 5 * x + [1, -1, 0, 1, -1], "forgetting": x, "gain_over_error": 20 + x, "iimm": x}
    return tables.cell_table(pd.DataFrame(named | found).to_dict("records"))


@pytest.fixture
def ask(rows, tmp_path):
    def run(dataset, screen=None, table=rows, **changes):
        (tmp_path / "study").mkdir(exist_ok=True)
        table.to_csv(tmp_path / "study" / "table.csv", index=False)
        config = PredictConfig(
            str(dataset), **{"study": str(tmp_path / "study"), "device": "cpu", "measure": "iimm", **changes}
        )
        return predict(config, screen or Screen(quiet=True))

    return run


def test_a_folder_of_ones_own(ask, photos, rows, model_directory):
    found = ask(photos)
    from benchmarks.own import domain as own_domain
    from models.transforms import evaluation_transform

    encoder, domain = models.load(str(model_directory)).eval(), own_domain(str(photos))
    transform = evaluation_transform(encoder.preprocess)
    with torch.no_grad():
        images = encoder.encode_images(torch.stack([transform(image) for image, _ in domain.train]))
        texts = encoder.encode_texts(encoder.tokenize(domain.prompts(0)))
    value = iimm(images, texts, torch.tensor([label for _, label in domain.train])).score
    assert found.value.value == pytest.approx(value, abs=1e-6) and found.n == 24
    assert found.value.low < value < found.value.high
    gain = found.table.set_index("outcome").loc["gain"]
    assert (gain.predicted, gain.low, gain.high) == pytest.approx(at(fit(rows.iimm, rows.gain), found.value.value))
    assert 0 <= found.zero_shot <= 100 and found.table.observed.isna().all()
    assert "the domains of the study are of the mini edition, but photos is of the own edition" in " ".join(found.warnings)
    assert found.advice.tuning == "full"


@pytest.mark.slow
def test_a_domain_of_the_study_is_left_out(ask, rows, model_directory, capsys):
    found = ask("mnist", Screen(), measure_n=60)
    others = rows[rows.domain != "mnist"]
    gain = found.table.set_index("outcome").loc["gain"]
    assert gain.predicted == pytest.approx(at(fit(others.iimm, others.gain), found.value.value).value)
    assert gain.observed == pytest.approx(rows.gain[3]) and found.n == 60
    said = capsys.readouterr().out
    assert "predicted from 4 domains, without mnist itself" in said and "seen" in said
    assert "mean leave-one-out error of its lines" in said and "(mean of the other domains: " in said
    first = next(line for line in said.splitlines() if not line.endswith("..."))
    assert first.startswith(f"Verdict: fine-tune on mnist with --strategy finetune: {gain.predicted:+.1f} points")
    command = said.splitlines()[-1].removeprefix("run: python cli.py ")
    assert command.startswith("bench stream --tasks mnist --strategy finetune")
    assert (
        "recommended: --strategy finetune --tuning full" in said and "mnist" not in said.split("full-0 of ")[1].splitlines()[0]
    )


@pytest.mark.parametrize(
    ("strategy", "tuning", "expected"),
    [
        ("finetune", "full", "--strategy finetune"),
        ("finetune", "visual", "--strategy finetune --tuning visual"),
        ("attention", "attention", "--strategy attention"),
        (None, None, "--strategy zero-shot"),
    ],
)
def test_the_flags_of_a_recommendation(strategy, tuning, expected):
    assert " ".join(flags(Advice(strategy, tuning, "", ()))) == expected


@pytest.mark.slow
def test_a_sample_of_another_size_is_said_where_it_matters(ask, rows):
    sized = rows.assign(logme=rows.iimm, measured=600)
    assert not any("number of images" in warning for warning in ask("mnist", table=sized, measure_n=60).warnings)
    found = ask("mnist", table=sized, measure="logme", measure_n=60)
    assert "logme depends on the number of images: 60 here, 600 to 600 in the study" in found.warnings
    near = ask("mnist", table=sized.assign(measured=100), measure="logme", measure_n=60)
    assert not any("number of images" in warning for warning in near.warnings)


@pytest.mark.slow
def test_five_tunings_fit_a_hundred_columns(ask, rows):
    five = pd.concat([rows.assign(tuning=name) for name in ("full", "bitfit", "attention", "lora", "adapter")])
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    ask("mnist", Screen(console=console, live=False), table=five, measure_n=60)
    assert "…" not in console.file.getvalue() and "gain, change on the other domains" in console.file.getvalue()


def test_outside_the_study_is_said(ask, photos, rows, capsys):
    found = ask(photos, Screen(), table=rows.assign(iimm=rows.iimm + 5))
    assert "is outside the range of the study, 4.5 to 6.2" in found.warnings[0]
    assert "warning: iimm" in capsys.readouterr().out


def test_other_measures_of_the_study(ask, photos, rows):
    found = ask(photos, table=rows.assign(text_text=rows.iimm), measure="text_text")
    assert set(found.table.measure) == {"text_text"} and found.value.low is None
    with pytest.raises(UserError, match=r"The study has no measure 'logme'\. It has iimm"):
        ask(photos, measure="logme")


def test_a_weight_is_refused_before_anything_is_read(ask, photos):
    with pytest.raises(UserError, match="weight of forgetting must be at least 0, got -1"):
        ask(photos, weight=-1.0, study="nowhere")


@pytest.mark.slow
def test_the_model_is_the_studys(ask, photos, rows, model_directory, tmp_path):
    assert ask(photos, model=str(model_directory)).value == ask(photos).value
    with pytest.raises(UserError, match=f"made with {model_directory}, not with tiny"):
        ask(photos, model="tiny")
    with pytest.raises(UserError, match="made with earlier weights of"):
        ask(photos, table=rows.assign(weights="0" * 64))
    with pytest.raises(UserError, match="made with ViT-B-16 / openai, not with ViT-B-32"):
        ask(photos, table=rows.assign(model="ViT-B-16", pretrained="openai", weights=""), model="ViT-B-32", pretrained="openai")
    with pytest.raises(UserError, match="random weights of ViT-B-32"):
        ask(photos, table=rows.assign(model="ViT-B-32", pretrained="random", weights=""))
    with pytest.raises(UserError, match="this study has cells of 2 models"):
        ask(photos, table=rows.assign(weights=["0", *rows.weights[1:]]))


def test_a_table_of_several_models_answers_for_the_one_that_is_asked(ask, photos, rows, model_directory):
    other = rows.assign(model="tiny-other", weights="1" * 64, gain=rows.gain + 50)
    alone = ask(photos)
    for both in (pd.concat([rows, other]), pd.concat([other, rows])):
        found = ask(photos, table=both, model=str(model_directory))
        assert found.table.predicted.tolist() == alone.table.predicted.tolist() and set(found.table.n) == {5}
    # Without --model, the first one of the table.
    assert ask(photos, table=pd.concat([rows, other])).table.predicted.tolist() == alone.table.predicted.tolist()
    with pytest.raises(UserError, match=rf"no cells of tiny, only of tiny-other, {model_directory}\. Run `study`"):
        ask(photos, table=pd.concat([other, rows]), model="tiny")
    moved = pd.concat([other, rows.assign(model="elsewhere")])
    assert ask(photos, table=moved, model=str(model_directory)).n == 24


def test_a_moved_model_is_the_same_model(ask, photos, rows):
    assert ask(photos, table=rows.assign(model="elsewhere"), model=rows.model[0]).n == 24


@pytest.mark.slow
def test_small_studies_are_refused(ask, photos, rows):
    with pytest.raises(UserError, match=r"at least 4 domains\. This study has 3"):
        ask(photos, table=rows[:3])
    with pytest.raises(UserError, match="has 3 without mnist"):
        ask("mnist", table=rows[1:])


def test_an_undefined_measure_is_refused(ask, photos):
    for name in ("oak", "pine"):
        for file in (photos / name).iterdir():
            file.unlink()
        (photos / name).rmdir()
    with pytest.raises(UserError, match="class"):
        ask(photos)


def test_domains_without_numbers_are_named(ask, photos, rows):
    found = ask(photos, table=rows.assign(gain=[math.nan, *rows.gain[1:]]))
    assert "closeups left out" in found.warnings[0] and set(found.table.n) == {4}


def test_without_a_study(ask, photos, monkeypatch, tmp_path):
    monkeypatch.setattr(study_table, "SHIPPED", tmp_path / "absent.csv")
    with pytest.raises(UserError, match=r"No study ships with this version. Make one with `python cli\.py study`"):
        ask(photos, study=None)
    with pytest.raises(UserError, match="There is no study at"):
        ask(photos, study=str(tmp_path / "elsewhere"))


def test_the_study_that_comes_along_is_found(ask, photos, rows, monkeypatch, tmp_path):
    rows.to_csv(tmp_path / "shipped.csv", index=False)
    monkeypatch.setattr(study_table, "SHIPPED", tmp_path / "shipped.csv")
    assert ask(photos, study=None).n == 24
    assert study_table.read(tmp_path / "shipped.csv").domain.nunique() == 5


def test_mistakes(ask, photos):
    with pytest.raises(UserError, match="Did you mean mnist"):
        ask("mnst")
    with pytest.raises(UserError, match="--measure-n must be at least 2"):
        ask(photos, measure_n=1)
    with pytest.raises(UserError, match="--seed must be at least 0"):
        ask(photos, seed=-1)
    with pytest.raises(UserError, match="mnist has fixed class names"):
        ask("mnist", classnames="names.txt")


@pytest.mark.parametrize(("zero_shot", "tuning"), [(100.0, None), (90.0, "full")])
def test_a_gain_beyond_100_percent_is_no_reason_to_fine_tune(zero_shot, tuning):
    table = pd.DataFrame({"tuning": "full", "outcome": ["gain", "forgetting"], "predicted": [14.0, 8.2]})
    advice = within_reach(Advice("finetune", "full", "take it", ()), table, zero_shot, 1.0)
    assert advice.tuning == tuning
    assert ("At most 0.0 points can be gained" in advice.sentence) is (tuning is None)


@pytest.mark.slow
def test_without_a_measure_the_mean_predicts_if_nothing_else_does(ask, photos, rows, capsys):
    found = ask(photos, Screen(), measure=None)
    gain = found.table.set_index("outcome").loc["gain"]
    assert gain.predicted == pytest.approx(rows.gain.mean()) and found.predictors == {} and found.nearest.empty
    assert found.value.value == pytest.approx(found.zero_shot) and len(found.checks) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "chosen: the mean, because no measure predicted left-out domains better" in said
    assert "intervals contain" in said and "of 10 left-out outcomes" in said


@pytest.mark.slow
def test_without_a_measure_the_winner_on_left_out_domains_predicts(ask, photos, rows, capsys):
    many = pd.concat([rows.assign(domain=[f"{name}{i}" for name in NAMES], iimm=rows.iimm + i / 20) for i in range(3)])
    many = many.assign(gain=10 + 20 * many.iimm, forgetting=many.iimm, zero_shot_val=50.0)
    found = ask(photos, Screen(), table=many, measure=None)
    assert list(found.predictors) == ["iimm"] and found.checks.inside.sum() == 30
    assert found.table.set_index("outcome").predicted["gain"] == pytest.approx(10 + 20 * found.value.value)
    assert "chosen: iimm." in capsys.readouterr().out


def test_the_cheapest_study_of_another_model(rows):
    timed = rows.assign(train_seconds=[1.0, 2, 3, 4, 5], updates=40)
    text = study_table.cheapest_study(timed, "tiny-siglip")
    assert "python cli.py study --model tiny-siglip --domains A,B,C,D --tunings TUNING" in text
    assert "4 such trainings of 40 updates took 12 s" in text and "and full," in text
    assert study_table.cheapest_study(rows.drop(columns="train_seconds"), "X").endswith("--out FOLDER`.")


@pytest.mark.slow
def test_the_accuracy_before_is_taken_with_the_prompts_of_the_study(ask, photos, rows, monkeypatch):
    from harness.study import predict as module

    asked = []
    monkeypatch.setattr(module, "with_prompts", lambda domain, kind: asked.append(kind) or domain)
    ask(photos, table=rows.assign(prompts="one"))
    ask(photos)
    assert asked == ["one"]
