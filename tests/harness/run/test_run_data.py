"""Data of a run: images that processes read from files, damaged and missing images, reference data."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import cli
from benchmarks import BENCHMARKS
from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import usage
from benchmarks.data.sampling import permutation
from benchmarks.full import Missing
from benchmarks.plan import Built, StreamPlan
from benchmarks.settings import mini
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_csv, read_json
from harness.run import loop as runner
from harness.run.loop import run
from models.registry import UserError
from strategies import Strategy
from strategies.zscl import ZSCL

COUNT = {"train": 12, "val": 3, "test": 9}
QUICK = {"iterations": 4, "batch_size": 4, "warmup": 1, "lr": 0.003}


@pytest.fixture
def photos(tmp_path):
    """Return a domain of three classes in image files, one colour per class."""
    rng, splits = np.random.default_rng(0), {}
    for split, count in COUNT.items():
        paths = [tmp_path / "photos" / split / f"{i:02d}.png" for i in range(count)]
        paths[0].parent.mkdir(parents=True)
        for i, path in enumerate(paths):
            pixels = rng.integers(0, 120, (60, 50, 3), np.uint8)
            pixels[..., i % 3] += 120
            Image.fromarray(pixels).save(path)
        splits[split] = ImageFiles(paths, [i % 3 for i in range(count)])
    return Domain("photos", ("red", "green", "blue"), ("a {} photo.",), **splits)


@pytest.fixture
def shelf(photos, toy_domain, monkeypatch, tmp_path):
    """Register a benchmark of two domains, one in files and one in memory."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    held = toy_domain("held")

    def stream(ask):
        built = Built([photos, held], [])
        return StreamPlan(
            "shelf", ask.edition or "mini", "I", ("photos", "held"), (), lambda *_: built, tiny_settings=mini("mtil")
        )

    monkeypatch.setitem(BENCHMARKS._objects, "shelf", stream)
    return "shelf"


@pytest.fixture
def config(shelf, model_directory, tmp_path):
    return RunConfig(
        shelf, "finetune", model=str(model_directory), options=QUICK, out=str(tmp_path / "results"), measure_n=2,
        device="cpu", workers=1,
    )  # fmt: skip


def shown(config):
    text = io.StringIO()
    result = run(config, Screen(console=Console(file=text, width=200), live=False))
    return result, text.getvalue()


def accuracies(folder):
    return [(r["after"], r["task"], r["correct"]) for r in read_csv(folder / "accuracy.csv")]


def cut(path):
    """Truncate an image file, as a broken download does."""
    with open(path, "r+b") as file:
        file.truncate(2000)


@pytest.mark.slow
def test_processes_read_images_without_a_cache(config, monkeypatch, tmp_path):
    readers, original = {}, Strategy.make_eval_dataloader

    def spy(self, num_workers=0, **rest):
        readers[self.experience.domain.name] = num_workers
        return original(self, num_workers=num_workers, **rest)

    monkeypatch.setattr(Strategy, "make_eval_dataloader", spy)
    cached = run(config, Screen(quiet=True))
    assert readers == {"photos": 0, "held": 0} and [item.label for item in usage()] == ["photos-test"]
    (tmp_path / "file").write_text("in the way")
    for change, expected in (({"cache": True}, 1), ({"cache": False}, 1), ({"cache": False, "workers": 0}, 0)):
        monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "file" / "in"))
        result = run(replace(config, out=str(tmp_path / f"{len(change)}-{change['cache']}"), **change), Screen(quiet=True))
        assert readers == {"photos": expected, "held": 0} and accuracies(result.folder) == accuracies(cached.folder)


@pytest.mark.slow
def test_a_method_that_looks_at_validation_images_has_them_cached(config, monkeypatch):
    monkeypatch.setattr(Strategy, "needs_validation", True)
    run(config, Screen(quiet=True))
    assert sorted(item.label for item in usage()) == ["photos-test", "photos-val"]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_image_is_reported_in_a_sentence(config, photos, split, capsys):
    measured = permutation(COUNT["train"], 0)[:2]
    path = getattr(photos, split).paths[next(i for i in range(9) if i not in measured)]
    cut(path)
    arguments = [f"{name}={value}" for name, value in QUICK.items()]
    common = ["--model", config.model, "--out", config.out, "--measure-n", "2", "--device", "cpu", "--workers", "1"]
    assert cli.main(["bench", "shelf", "--strategy", "finetune", *common, "--no-cache", "--quiet", "--set", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"perennial: Cannot read the image {path}: ") and said.count("\n") == 1
    (record,) = Path(config.out).rglob("run.json")
    document = read_json(record)
    assert document["status"] == "failed" and document["error"] == f"UserError: {said.removeprefix('perennial: ').strip()}"


@pytest.fixture
def refusing(shelf, monkeypatch):
    """Return a function that makes reading training data fail."""

    def with_error(error):
        plan = BENCHMARKS.get(shelf)

        def stream(ask):
            found = plan(ask)

            def build(progress, splits, *rest):
                if "train" in splits:
                    raise error
                return found.build(progress, splits, *rest)

            return replace(found, build=build)

        monkeypatch.setitem(BENCHMARKS._objects, shelf, stream)

    return with_error


@pytest.mark.slow
def test_zero_shot_needs_no_training_data(config, refusing):
    refusing(Missing("There is no training data."))
    result, text = shown(replace(config, strategy="zero-shot", options={}))
    assert "no training data found" in text and len(accuracies(result.folder)) == 6
    with pytest.raises(Missing):
        run(config, Screen(quiet=True))


def test_another_mistake_in_the_data_does_not_count_as_missing_data(config, refusing):
    refusing(UserError("The class red has 3 images, fewer than 5 shots."))
    with pytest.raises(UserError, match="fewer than 5 shots"):
        run(replace(config, strategy="zero-shot", options={}), Screen(quiet=True))


@pytest.mark.slow
def test_the_record_names_the_reference_data(config, reference, monkeypatch):
    monkeypatch.setattr(runner, "load_reference", lambda *a: reference)
    result, text = shown(replace(config, strategy="zscl"))
    assert "40 reference images (mini), 30 reference sentences (mini)" in text
    expected = {"images": {"name": "mini", "n": 40}, "sentences": {"name": "mini", "n": 30}}
    assert read_json(result.folder / "run.json")["reference"] == expected
    plain, text = shown(config)
    assert read_json(plain.folder / "run.json")["reference"] is None and "reference images" not in text


@pytest.mark.parametrize(
    ("options", "looks"), [({}, 3 * 5), ({"reference_reshuffle": True}, (3 + 1 + 2) * 5), ({"iterations": 7}, 7 * 5)]
)
def test_no_more_reference_images_than_are_looked_at(options, looks, monkeypatch):
    """An epoch of 4, 0 and 2 images in batches of 2 has 3, 1 and 2 updates, each with 5 reference images."""
    budgets = {"epochs": 1, "batch_size": 2, "reference_batch": 5, "iterations": 9, **options}
    if "iterations" in options:
        budgets["epochs"] = 0
    asked = {}
    monkeypatch.setattr("benchmarks.reference.load", lambda *names, **rest: asked.update(rest, names=names))
    resolved = SimpleNamespace(
        reference=("pictures", "mini"),
        reads_reference=True,
        reference_paths=["a.png"],
        strategy_class=ZSCL,
        options=ZSCL.Options(**budgets),
        config=RunConfig(seed=3, data_root="there"),
    )
    train = [SimpleNamespace(dataset=range(n)) for n in (4, 0, 2)]
    runner.load_reference(
        resolved, SimpleNamespace(preprocess=8), SimpleNamespace(streams={"train": train}), Screen(quiet=True)
    )
    assert asked["count"] == looks and asked["names"][:2] == ("pictures", "mini") and asked["names"][2] == 8
    assert asked["paths"] == ["a.png"] and asked["data_root"] == "there" and "seed" not in asked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"warmup": 30}, "every task gets at most 4 updates, and the warm-up takes 30"),
        ({"warmup": 4}, "the learning rate peaks at 4/4 of lr"),
        ({"epochs": 1, "batch_size": 8, "warmup": 3}, "1 of 2 tasks get at most 3 updates"),
        ({"warmup": 3}, None),
    ],
)
def test_a_warning_about_a_task_that_ends_in_its_warmup(config, options, said):
    _, text = shown(replace(config, options={**QUICK, **options}))
    lines = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert len(lines) == (said is not None) and (said or "") in text
    assert said is None or "--set epochs=, iterations= or warmup=" in lines[0]


@pytest.mark.slow
def test_no_warning_about_the_papers_protocol(config):
    _, text = shown(replace(config, edition="full", options={**QUICK, "warmup": 30}))
    assert "warning: " not in text


@pytest.mark.slow
def test_an_interrupted_run_with_a_reshuffle_continues_to_the_same_matrix(config, reference, monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "load_reference", lambda *a: reference)
    config = replace(config, strategy="zscl", options={**QUICK, "reference_reshuffle": True, "reference_batch": 8})
    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True))
    original, count = runner._evaluate, iter(range(9))

    def dies(*arguments):
        if next(count) == 2:
            raise KeyboardInterrupt
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_evaluate", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, Screen(quiet=True))
    again = run(config, Screen(quiet=True))
    assert accuracies(again.folder) == accuracies(whole.folder)
    losses = [[r["loss"] for r in read_csv(one.folder / "train.csv")] for one in (again, whole)]
    assert losses[0] == losses[1] and len(losses[0]) == 8
