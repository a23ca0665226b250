"""`measure`: its numbers against another formula, its samples and its flags."""

import csv
import math

import pandas as pd
import pytest
import torch
from PIL import Image

import cli
import models
from benchmarks.data.sampling import permutation
from benchmarks.own import domain as own_domain
from harness.display.screen import Screen
from harness.study.measure import COLUMNS, MeasureConfig, measure
from metrics.evaluate import Accuracy
from metrics.suite import ONE_MODEL
from models.encoder import DualEncoder
from models.registry import UserError
from models.transforms import evaluation_transform

CLASSES = ("oak_tree", "pine", "birch")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def trees(full_roots, tmp_path):
    """30 pictures in three classes: 24 training, 3 validation and 3 test images."""
    for label, name in enumerate(CLASSES):
        for number in range(10):
            full_roots.save(tmp_path / "trees" / name / f"{number}.png", label, number)
    (tmp_path / "trees" / "templates.txt").write_text("a photo of a {}.\nthe {}\n")
    return tmp_path / "trees"


@pytest.fixture
def ask(model_directory):
    def run(*names, **changes):
        config = MeasureConfig(tuple(map(str, names)), model=str(model_directory), device="cpu", **changes)
        return measure(config, Screen(quiet=True))

    return run


def by_measure(table, dataset="trees"):
    """Return the rows by measure."""
    return {row.measure: row for row in table[table.dataset == dataset].itertuples()}


def features(encoder, paths):
    transform = evaluation_transform(encoder.preprocess)
    with torch.inference_mode():
        return encoder.encode_images(torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])).double()


def texts(encoder, template):
    with torch.inference_mode():
        prompts = [template.format(name) for name in ("birch", "oak tree", "pine")]
        return encoder.encode_texts(encoder.tokenize(prompts)).double()


def pairwise(x, t, labels):
    """Return the mean similarity of pairs of images, and of images to wrong classes, computed one by one."""
    intra = [float(x[i] @ x[j]) for i in range(len(x)) for j in range(i)]
    inter = [float(x[i] @ t[c]) for i in range(len(x)) for c in range(len(t)) if c != labels[i]]
    return sum(intra) / len(intra), sum(inter) / len(inter)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1000, 7])
def test_the_numbers_by_another_formula(count, trees, ask, model_directory):
    found = ask(trees, measure_n=count, seed=3)
    assert tuple(found.columns) == COLUMNS and found.measure.tolist() == [*ONE_MODEL, "zero_shot", "zero_shot_test"]
    rows = by_measure(found)
    encoder, domain = models.load(str(model_directory)), own_domain(trees)
    assert domain.classnames == ("birch", "oak tree", "pine")
    chosen = permutation(24, 3)[:count]
    paths, labels = [domain.train.paths[i] for i in chosen], [domain.train.targets[i] for i in chosen]
    intra, inter = pairwise(features(encoder, paths), texts(encoder, "a photo of a {}."), labels)
    expected = {"iimm_intra": intra, "iimm_inter": inter, "iimm": (intra + inter) / 2}
    assert {name: rows[name].value for name in expected} == pytest.approx(expected, abs=1e-5)
    assert all(rows[name].n == min(24, count) and rows[name].low < rows[name].value < rows[name].high for name in expected)

    heads = sum(texts(encoder, template) for template in ("a photo of a {}.", "the {}"))
    for name, of, answers in (("zero_shot", paths, labels), ("zero_shot_test", domain.test.paths, domain.test.targets)):
        guesses = (features(encoder, of) @ heads.T).argmax(dim=1).tolist()
        right = Accuracy(sum(guess == answer for guess, answer in zip(guesses, answers, strict=True)), len(of))
        row = rows[name]
        assert (row.n, row.value, (row.low, row.high)) == (right.n, pytest.approx(right.percent), right.interval())
    assert set(zip(found.dataset, found.edition, found.classes, strict=True)) == {("trees", "own", 3)}
    assert all(bool(row.reason) == math.isnan(row.value) for row in rows.values())


@pytest.mark.slow
def test_the_cache_changes_no_number(trees, ask):
    tables = [ask(trees, cache=cached) for cached in (False, True, True)]
    assert tables[0].equals(tables[1]) and tables[1].equals(tables[2])


def test_several_datasets_and_a_limit(trees, ask, full_data):
    found = ask(trees, "EuroSAT", "kitti", data_root=str(full_data), limit=2, measures=("gbc", "iimm"))
    assert found.measure.tolist() == ["iimm", "gbc", "zero_shot", "zero_shot_test"] * 3
    firsts = found[found.measure == "iimm"]
    assert firsts.dataset.tolist() == ["trees", "EuroSAT", "kitti"] and firsts.edition.tolist() == ["own", "full", "full"]
    assert found.n.tolist() == [24, 24, 24, 2] * 2 + [30, 30, 30, 2] and firsts.classes.tolist() == [3, 10, 4]


def test_what_is_not_the_papers_is_said(ask, full_data, model_directory, capsys):
    command = ["measure", "kitti", "--data-root", str(full_data), "--model", str(model_directory), "--measures", "iimm"]
    assert cli.main(command) == 0
    assert "warning: kitti has 30 train images here" in capsys.readouterr().out


def test_without_training_images_the_test_images_are_measured(trees, ask, full_roots, tmp_path):
    folder = tmp_path / "only" / "test"
    folder.mkdir(parents=True)
    for path in sorted(trees.glob("*/")):
        path.rename(folder / path.name)
    assert ask(folder.parent, measures=("iimm",)).n.unique().tolist() == [30]
    full_roots.write(tmp_path / "data", ["svhn"])
    (tmp_path / "data" / "svhn" / "train_32x32.mat").unlink()
    assert ask("svhn", data_root=str(tmp_path / "data"), measures=("iimm",)).n.unique().tolist() == [10]


def test_training_data_that_is_damaged_is_not_missing(ask, full_roots, tmp_path):
    full_roots.write(tmp_path / "data", ["svhn"])
    (tmp_path / "data" / "svhn" / "train_32x32.mat").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"Cannot read .*train_32x32\.mat: it is damaged"):
        ask("svhn", data_root=str(tmp_path / "data"))
    (tmp_path / "data" / "svhn" / "train_32x32.mat").unlink()
    (tmp_path / "data" / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(UserError, match=r"svhn is missing or incomplete: .*test_32x32\.mat"):
        ask("svhn", data_root=str(tmp_path / "data"))


@pytest.mark.slow
def test_names_and_templates_from_files(trees, ask, tmp_path):
    (tmp_path / "n.txt").write_text("a thing\nanother\na third\n")
    (tmp_path / "t.txt").write_text("{} drawn\n")
    plain, named = ask(trees), ask(trees, classnames=str(tmp_path / "n.txt"), templates=str(tmp_path / "t.txt"))
    plain, named = by_measure(plain), by_measure(named)
    assert plain["iimm_intra"].value == named["iimm_intra"].value and plain["iimm_inter"].value != named["iimm_inter"].value
    with pytest.raises(UserError, match="need exactly one dataset with your data"):
        ask(trees, trees, templates=str(tmp_path / "t.txt"))
    with pytest.raises(UserError, match="kitti has fixed class names"):
        ask("kitti", templates=str(tmp_path / "t.txt"))


def test_a_measure_that_is_undefined(ask, tmp_path, full_roots, capsys):
    """A single training image forms no pair, and a single class has no wrong class."""
    for label, (split, name) in enumerate((("train", "a"), ("train", "b"), ("test", "a"), ("test", "b"))):
        full_roots.save(tmp_path / "two" / split / name / "0.png", label, 0)
    rows = by_measure(ask(tmp_path / "two", measure_n=1), "two")
    for name in ("iimm", "iimm_intra", "iimm_inter"):
        assert math.isnan(rows[name].value) and rows[name].reason == "IIMM needs at least 2 images, got 1"
    assert "at least 2 c" in rows["silhouette"].reason and "2 classes" in rows["logme"].reason
    assert rows["text_text"].value == rows["text_text"].value and rows["zero_shot"].n == 1


def test_features_that_are_nan_have_no_accuracy(trees, ask, monkeypatch):
    original = DualEncoder.raw_images
    monkeypatch.setattr(DualEncoder, "raw_images", lambda self, pixels: original(self, pixels) * math.nan)
    rows = by_measure(ask(trees))
    assert [name for name, row in rows.items() if row.value == row.value] == ["text_text"]
    assert {rows[name].reason for name in ("iimm", "zero_shot", "zero_shot_test")} == {"image features contain NaN or infinity"}


def test_classes_without_images_are_said(trees, ask, model_directory, capsys):
    assert cli.main(["measure", str(trees), "--model", str(model_directory), "--measure-n", "2"]) == 0
    assert "1 of the 3 classes of trees has no images among the 2 measured images" in capsys.readouterr().out


def test_images_without_labels(tmp_path, full_roots, model_directory, capsys):
    full_roots.save(tmp_path / "loose" / "1.png", 0, 0)
    assert cli.main(["measure", str(tmp_path / "loose"), "--model", str(model_directory)]) == 2
    assert "loose" in capsys.readouterr().err


@pytest.mark.slow
def test_on_the_command_line(trees, model_directory, tmp_path, capsys):
    command = ["measure", str(trees), "--model", str(model_directory), "--csv", str(tmp_path / "new" / "m.csv")]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    count = len(ONE_MODEL) + 2
    assert "trees (own): 3 classes, 24 images measured, 3 test images" in out and f"m.csv ({count} rows)" in out
    assert all(name in out for name in ONE_MODEL) and "fine-tuning gains more" in out and "Wilson" in out
    with (tmp_path / "new" / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == count
    assert (rows[0]["dataset"], rows[0]["n"], rows[0]["measure"]) == ("trees", "24", "iimm")
    again = pd.read_csv(tmp_path / "new" / "m.csv")
    assert again.value[0] == pytest.approx((again.value[1] + again.value[2]) / 2, abs=1e-5)
    assert cli.main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "new", "trees"], "no record, no checkpoint"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnits"], "Did you mean mnist"),
        (["TREES", "--measure-n", "1"], "--measure-n must be at least 2"),
        (["TREES", "--limit", "0"], "--limit must be at least 1"),
        (["TREES", "--edition", "mini"], "is your own data, not part of the mini edition"),
        (["kitti", "--data-root", "DATA"], "The dataset kitti is missing"),
        (["kitti", "dtd", "--data-root", "DATA"], "2 datasets are missing under 'DATA'"),
        (["TREES", "--model", "ViT-B32"], "Did you mean ViT-B-32"),
        (["TREES", "--measures", "iimm,silouette"], "Did you mean silhouette"),
        (["TREES", "--measures", "cka"], "Unknown measure 'cka'"),
        (["TREES", "--device", "tpu!"], "Unknown device"),
        (["TREES", "--csv", "TREES"], "Cannot write"),
        (["./nowhere/trees.csv"], "nor an existing folder or file"),
    ],
)
def test_mistakes(arguments, words, trees, model_directory, capsys):
    arguments = [str(trees) if a == "TREES" else a for a in arguments]
    model = [] if "--model" in arguments else ["--model", str(model_directory)]
    assert cli.main(["measure", *arguments, *model]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("perennial: ") and error.count("\n") == 1
