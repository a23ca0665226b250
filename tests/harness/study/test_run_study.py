"""Studies of toy domains: numbers of a cell, resumed studies and refused configurations."""

import csv
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import models
from benchmarks.data.dataset import TensorImages
from benchmarks.scenario import scenario
from harness.display.screen import Screen
from harness.study import run_study, study_config
from harness.study.study_config import Cell, StudyConfig, resolve
from metrics.evaluate import evaluate
from metrics.iimm import iimm
from models.classifier import PromptClassifier
from models.registry import UserError
from strategies.engine.schedule import seed_everything
from strategies.engine.strategy import Strategy

NAMES = ("red", "green", "blue", "grey")
QUICK = {"iterations": 4, "batch_size": 8, "warmup": 0, "lr": 0.002}


@dataclass(frozen=True)
class Toy:
    """A source as in the catalog."""

    name: str
    domain: Any
    edition: str = "mini"
    data: str = "1"

    def build(self, splits=(), progress=None):
        return self.domain

    def version(self):
        return self.data


@pytest.fixture
def toys(toy_domain, monkeypatch):
    """Return four domains by name. The first has an out-of-distribution set. Tests may replace them."""
    found = {name: Toy(name, toy_domain(name, 2 + i, seed=i, test=30)) for i, name in enumerate(NAMES)}
    red = found["red"].domain
    bright = TensorImages((red.test.images.int() + 60).clamp(0, 255).to(torch.uint8), red.test.targets)
    found["red"] = replace(found["red"], domain=replace(red, ood=bright))
    monkeypatch.setattr(study_config, "find_all", lambda names, edition, root: ("mini", [found[name] for name in names]))
    return found


@pytest.fixture
def ask(toys, model_directory, tmp_path):
    def config(**changes):
        settings = {"domains": NAMES, "tunings": ("full", "lora"), "measures": ("iimm", "silhouette"), **changes}
        settings.setdefault("options", {**QUICK, **({"lora.lr": 0.02} if "lora" in settings["tunings"] else {})})
        return StudyConfig(**{"model": str(model_directory), "device": "cpu", "out": str(tmp_path), **settings})

    return config


@pytest.fixture
def run(ask):
    return lambda **changes: run_study.run(ask(**changes), Screen(quiet=True))


def without_time(table):
    return table.drop(columns="train_seconds")


def by_hand(toys, model_directory, name, seed=0):
    """Accuracy on every test split before and after plain fine-tuning on one domain."""
    seed_everything(seed, 0)
    encoder = models.load(str(model_directory))
    options = Strategy.Options(iterations=4, batch_size=8, warmup=0, lr=0.002)
    before = {n: evaluate(PromptClassifier(encoder), toy.domain).percent for n, toy in toys.items()}
    strategy = Strategy(encoder=encoder, options=options, tuning_name="full", seed=seed)
    strategy.train(scenario([toys[name].domain]).streams["train"][0], eval_streams=[])
    after = {n: evaluate(PromptClassifier(encoder), toy.domain).percent for n, toy in toys.items()}
    return before, after, evaluate(PromptClassifier(encoder), toys[name].domain, "ood").percent if name == "red" else None


@pytest.mark.slow
def test_a_cell_starts_from_the_initial_model(run, toys, model_directory):
    table = run().table.set_index(["domain", "tuning"])
    for name in ("red", "blue"):
        before, after, ood = by_hand(toys, model_directory, name)
        r = table.loc[name, "full"]
        assert r.zero_shot == pytest.approx(before[name]) and r.fine_tuned == pytest.approx(after[name])
        assert r.gain == pytest.approx(after[name] - before[name])
        over_error = math.nan if before[name] == 100 else 100 * r.gain / (100 - before[name])
        assert r.gain_over_error == pytest.approx(over_error, nan_ok=True)
        change = {n: after[n] - before[n] for n in NAMES if n != name}
        assert r.forgetting == pytest.approx(-np.mean(list(change.values())))
        assert r.worst_other_change == pytest.approx(min(change.values()))
        assert change[r.worst_other] == r.worst_other_change
        assert math.isnan(r.gain_ood) if ood is None else r.fine_tuned_ood == pytest.approx(ood)
    assert table.gain.abs().max() > 0 and table.forgetting.abs().max() > 0, "something was learned and forgotten"


@pytest.mark.slow
def test_measures_are_of_the_initial_model(run, toys, model_directory):
    table = run(tunings=("full",)).table.set_index("domain")
    encoder, domain = models.load(str(model_directory)).eval(), toys["green"].domain
    with torch.no_grad():
        images = encoder.encode_images(domain.train.images)
        texts = encoder.encode_texts(encoder.tokenize(domain.prompts(0)))
    expected = iimm(images, texts, torch.tensor(domain.train.targets)).score
    assert table.loc["green", "iimm"] == pytest.approx(expected, abs=1e-6)
    assert table.loc["green", "measured"] == 48 and table.loc["green", "classes"] == 3


@pytest.mark.slow
def test_files_of_a_study(run, tmp_path):
    found = run()
    assert found.trained == 8
    record = json.loads((tmp_path / "red-lora-0" / "cell.json").read_text())
    assert record["identity"]["options"]["lr"] == 0.02 and record["updates"] == 4
    assert record["identity"]["tuning_options"]["rank"] == 4 and record["identity"]["strategy"] == "lora"
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["tuning"], r["domain"]) for r in rows] == [(t, d) for t in ("full", "lora") for d in NAMES]
    assert {r["strategy"] for r in rows} == {"finetune", "lora"} and {r["others"] for r in rows} == {"3"}
    assert [r["gain_ood"] != "" for r in rows[:4]] == [True, False, False, False]
    with (tmp_path / "regressions.csv").open() as file:
        lines = {(r["tuning"], r["outcome"], r["measure"]): r for r in csv.DictReader(file)}
    assert len(lines) == 2 * 7 * 2
    assert lines["full", "gain", "iimm"]["n"] == "4" and lines["full", "gain", "iimm"]["r2"]
    assert "at least 3 tasks, got 1" in lines["full", "gain_ood", "iimm"]["reason"]


@pytest.mark.slow
def test_a_killed_study_continues_with_the_same_results(run, killed, tmp_path):
    whole = run(out=str(tmp_path / "whole"))
    # Four records before training come first, so the third cell is the seventh.
    killed(run, run_study, "write_json", 7)
    assert len(list(tmp_path.glob("*-0/cell.json"))) == 2 and not (tmp_path / "table.csv").exists()
    resumed = run()
    assert resumed.trained == 6
    assert without_time(resumed.table).equals(without_time(whole.table))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("red-full-0/cell.json", {"after": {"test": {}, "val": {}, "ood": {}}}, r"cell.json is damaged \(no 'red'\)"),
        ("red-full-0/cell.json", {"updates": None}, r"cell.json is damaged \(no updates\)"),
        ("zero-shot-0/red.json", {"measures": None}, r"red.json is damaged \(no measures\)"),
    ],
)
def test_a_damaged_record_is_named(run, tmp_path, file, change, message):
    run()
    record = json.loads((tmp_path / file).read_text()) | change
    (tmp_path / file).write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
    with pytest.raises(UserError, match=message):
        run()


@pytest.mark.slow
def test_a_finished_study_trains_nothing(run, monkeypatch):
    first = run()
    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("nothing is to be done"))
    again = run()
    assert again.trained == 0 and again.table.equals(first.table)


@pytest.mark.slow
def test_only_added_cells_are_trained(run):
    first = run()
    assert run(tunings=("full", "lora", "bitfit")).trained == 4
    more = run(measures=("iimm", "silhouette", "text_text"))
    assert more.trained == 0 and more.table.text_text.notna().all()
    assert more.table[first.table.columns].equals(first.table)
    assert run(seeds=(0, 1), tunings=("full",)).trained == 4


@pytest.mark.slow
def test_cells_of_another_study_are_not_mixed_in(run, tmp_path):
    run(tunings=("full",))
    with pytest.raises(UserError, match=r"belongs to another study: options differ\. Choose another --out"):
        run(tunings=("full",), options={**QUICK, "lr": 0.001})
    with pytest.raises(UserError, match="others differ"):
        run(tunings=("full",), domains=NAMES[:3])
    with pytest.raises(UserError, match="limit differ"):
        run(tunings=("full",), limit=20)
    fresh = run(tunings=("full",), options={**QUICK, "lr": 0.001}, fresh=True)
    assert fresh.trained == 4
    assert json.loads((tmp_path / "red-full-0" / "cell.json").read_text())["identity"]["options"]["lr"] == 0.001


@pytest.mark.slow
def test_cells_from_before_an_option_existed_are_found_again(run, tmp_path):
    """A record lacks the newest options, and has older ones with their usual values."""
    run(tunings=("full",), domains=NAMES[:2])
    path = tmp_path / "red-full-0" / "cell.json"
    record = json.loads(path.read_text())
    options = record["identity"]["options"]
    assert not {"optimizer", "momentum", "schedule", "start"} & options.keys()
    options |= {"start": "previous", "augmentation": "crop"}
    path.write_text(json.dumps(record))
    assert run(tunings=("full",), domains=NAMES[:2]).trained == 0
    with pytest.raises(UserError, match="options differ"):
        run(tunings=("full",), domains=NAMES[:2], options={**QUICK, "optimizer": "sgd"})


@pytest.mark.slow
def test_changed_data_is_another_study(run, toys):
    run(tunings=("full",))
    toys["grey"] = replace(toys["grey"], data="2")
    with pytest.raises(UserError, match="another study"):
        run(tunings=("full",))


@pytest.mark.slow
def test_cells_do_not_depend_on_each_other(run, tmp_path):
    together = run(seeds=(0, 1)).table.set_index(["domain", "tuning", "seed"])
    alone = run(tunings=("lora",), seeds=(1,), out=str(tmp_path / "alone")).table.set_index(["domain", "tuning", "seed"])
    assert without_time(alone).equals(without_time(together.loc[alone.index]))


@pytest.mark.slow
def test_limit_cuts_every_split(run):
    table = run(tunings=("full",), limit=9).table
    assert {*table.n_train, *table.n_val, *table.n_test} == {9} and set(table.n_ood) == {9, 0}


@pytest.mark.slow
def test_a_probe_forgets_nothing_and_learns(run):
    table = run(tunings=("probe",), options={**QUICK, "lr": 0.1, "iterations": 20}, domains=NAMES[:2])
    assert (table.table.forgetting == 0).all() and (table.table.gain > 0).any()
    reasons = table.regressions.set_index(["outcome", "measure"]).reason
    assert "at least 3 tasks, got 2" in reasons["forgetting", "iimm"]


@pytest.mark.slow
def test_a_domain_without_validation_images_holds_some_out(run, toys):
    toys["grey"] = replace(toys["grey"], domain=replace(toys["grey"].domain, val=None))
    r = run(tunings=("full",)).table.set_index("domain").loc["grey"]
    assert (r.n_train, r.n_val) == (44, 4)


def test_a_domain_without_training_images_is_refused(run, toys):
    toys["grey"] = replace(toys["grey"], domain=replace(toys["grey"].domain, train=None))
    with pytest.raises(UserError, match="grey has no training images"):
        run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tunings": ("ful",)}, "Unknown tuning 'ful'. Did you mean full"),
        ({"tunings": ("full", "full")}, "--tunings contains full more than once"),
        ({"tunings": ()}, "--tunings is empty"),
        ({"domains": ("red",)}, "at least two domains"),
        ({"domains": ("red", "red")}, "--domains contains red more than once"),
        ({"measures": ("imm",)}, "Unknown measure 'imm'"),
        ({"seeds": (-1,)}, "--seed must be at least 0"),
        ({"limit": 1}, "--limit must be at least 2"),
        ({"measure_n": 1}, "--measure-n must be at least 2"),
        ({"options": {"itrations": 3}}, "Unknown option 'itrations'"),
        ({"options": {"adapter.lr": 3}}, "adapter.lr is an option of adapter, which is not among the tunings"),
        ({"options": {"lora.rnk": 3}}, "Unknown option 'rnk'"),
        ({"options": {"lora.rank": 0}}, "rank must be at least 1"),
        ({"protocol": "papr"}, "Unknown protocol 'papr'. Did you mean paper"),
        ({"prompts": "two"}, "Unknown prompts 'two'"),
    ],
)
def test_mistakes_are_reported_before_anything_is_loaded(ask, monkeypatch, changes, message):
    monkeypatch.setattr(models, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(UserError, match=message):
        run_study.run(ask(**changes), Screen(quiet=True))


PAPER = {"protocol": "paper", "tunings": ("full", "lora"), "domains": NAMES[:2], "measures": ("iimm",)}
SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05, "lora.lr": 0.5, "weight_decay": 1e-4, "full.weight_decay": 0.0}


@pytest.mark.slow
def test_a_study_with_the_protocol_of_the_paper(run, tmp_path, killed):
    """Ranks are what is left of the grid. A killed study continues, and cells of another protocol are refused."""
    whole = run(**PAPER, options=SETTINGS, out=str(tmp_path / "whole"))
    killed(lambda: run(**PAPER, options=SETTINGS), run_study, "write_json", 5)
    resumed = run(**PAPER, options=SETTINGS)
    assert resumed.trained == 2 and without_time(resumed.table).equals(without_time(whole.table))
    table = whole.table.set_index(["tuning", "domain"])
    assert set(table.protocol) == {"paper"} and set(table.prompts) == {"one"}
    assert list(table.tried) == [1, 1, 4, 4] and set(table.passes) == {2}
    assert set(table.lr) == {0.05, 0.5} and set(table.loc["lora", "rank"]) <= {2, 4, 8, 16}
    assert (table.loc["lora", "at_edge"] != "").equals(table.loc["lora", "rank"].isin([2, 16]))
    assert table[["zero_shot_other_prompts", "fine_tuned_other_prompts", "forgetting_other_prompts"]].notna().all(axis=None)
    before = json.loads((tmp_path / "zero-shot-0" / "red.json").read_text())
    assert set(table.loc[(slice(None), "red"), "class_entropy"]) == {before["class_entropy"]}
    record = json.loads((tmp_path / "red-lora-0" / "cell.json").read_text())
    assert len(record["trials"]) == 4 and record["trials"][-1]["rank"] == record["chosen"]["rank"]
    assert max(trial["val_correct"] for trial in record["trials"]) == record["trials"][-1]["val_correct"]
    assert record["after_one"]["val"]["red"][0] == record["trials"][-1]["val_correct"]
    with (tmp_path / "whole" / "changes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["tuning"], r["domain"], r["other"]) for r in rows] == [
        (t, d, o) for t in ("full", "lora") for d, o in (("red", "green"), ("green", "red"))
    ]
    assert float(rows[0]["change"]) == pytest.approx(-table.loc[("full", "red"), "forgetting"], abs=1e-4)
    with pytest.raises(UserError, match="differ"):
        run(**{**PAPER, "protocol": "mini"}, options=SETTINGS)
    with pytest.raises(UserError, match="prompts differ"):
        run(**PAPER, prompts="ensemble", options=SETTINGS)


def test_values_that_the_user_sets_leave_the_grid(ask):
    found = resolve(ask(**PAPER, options={"lora.rank": 8, "full.lr": 0.3, "epochs": 4})).techniques
    assert found["lora"].grid.rank == (8,) and len(found["lora"].grid.lr) == 4 and found["full"].grid.lr == (0.3,)
    options = found["full"].options
    assert (options.optimizer, options.momentum, options.schedule, options.batch_size) == ("sgd", 0.9, "constant", 128)
    assert (options.epochs, options.warmup, options.label_smoothing, options.augmentation) == (4, 0, 0.0, "none")
    assert found["full"].tuning_options.logit_scale and found["full"].images is None
    with pytest.raises(UserError, match="counts passes"):
        resolve(ask(**PAPER, options={"iterations": 4}))


def test_a_tiny_model_has_a_budget_of_images():
    found = resolve(StudyConfig(protocol="paper", prompts="ensemble"))
    assert found.techniques["full"].images is not None and found.prompts == "ensemble"
    assert resolve(StudyConfig(protocol="paper")).prompts == "one" and resolve(StudyConfig()).prompts == "ensemble"


def test_options_of_one_tuning_do_not_change_others(ask):
    found = resolve(ask(options={"lr": 0.1, "lora.lr": 0.2, "lora.rank": 2, "iterations": 3}))
    assert (found.techniques["full"].options.lr, found.techniques["lora"].options.lr) == (0.1, 0.2)
    assert found.techniques["lora"].tuning_options.rank == 2
    assert {how.options.iterations for how in found.techniques.values()} == {3}


def test_the_default_is_all_mini_domains_with_the_settings_of_the_tiny_model(monkeypatch):
    found = resolve(StudyConfig())
    assert len(found.sources) == 11 and {"digits", "letters"} <= set(found.sources)
    assert (found.model, found.pretrained) == ("tiny", None)
    assert found.techniques["lora"].options.lr == 0.003 and found.techniques["full"].options.iterations == 40
    assert len(found.cells()) == 55 and found.cells()[0] == Cell("closeups", "full", 0)
    assert "linear_probe" in found.measures and "ncti" not in found.measures


def test_another_process_in_the_folder_is_reported(run, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="Another process is at work"):
        run()


@pytest.mark.slow
def test_a_piped_study_prints_one_line_per_cell(ask, capsys):
    run_study.run(ask(tunings=("full",)), Screen())
    output = capsys.readouterr().out
    assert "4 of 4: full on grey, seed 0: " in output and "out of distribution, " in output and "0 s left" in output
    assert "lines over iimm" in output and "table.csv (4 cells)" in output
