"""The rehearsal of the full edition: its folder, and one run of the full edition on it."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import cli
import models
from benchmarks import full
from benchmarks.full.dataset_table import ENTRIES, suite
from tools import rehearsal
from tools.rehearsal_data import weights
from tools.rehearsal_data.content import Content
from tools.rehearsal_data.pictures import draw, look
from tools.rehearsal_data.sets import SETS, chosen
from tools.rehearsal_data.write import Painter, Settings


def write(root, *arguments):
    return rehearsal.main(["--root", str(root), "--images-per-class", "1", "--no-weights", "--workers", "1", *arguments])


def test_classes_are_those_of_the_table():
    for one in SETS.values():
        for entry in one.entries:
            if entry in ENTRIES and not entry.startswith("coop"):
                extra = {"Caltech101": 1, "imagenet100": 900}.get(entry, 0)
                assert len(one.class_names(1)) == ENTRIES[entry].classes + extra, entry


@pytest.mark.parametrize("images", [1, 2])
def test_commands_that_run_on_it(tmp_path, images):
    """Those that need two images per class are left out with one, and those of other sets always."""
    lines = rehearsal.commands(tmp_path, None, list(SETS), images)
    assert any("bench paint" in line for line in lines) is (images == 2)
    assert any("mtil-fewshot-16" in line for line in lines) and not any("--model" in line for line in lines)
    assert not any("bench" in line for line in rehearsal.commands(tmp_path, None, ["aircraft"], images))


def test_names_of_sets():
    assert len(chosen(["mtil"])) == 11 and chosen(["AIRCRAFT", "Caltech101"]) == ["aircraft", "caltech101"]
    assert chosen([]) == list(SETS)
    assert set(chosen(["paint"])) >= {"cars", "kitti", "imagenet", "stl10", "food101"}


def test_every_set_is_read_by_its_entries(tmp_path, monkeypatch):
    """With six classes of each."""
    for one in SETS.values():
        monkeypatch.setattr(type(one), "class_names", lambda self, count: dict(list(self.names().items())[:6]))
    assert write(tmp_path / "root") == 0
    for one in SETS.values():
        for entry in one.entries:
            if entry in ENTRIES:
                domain = full.build(entry, tmp_path / "root")
                assert len(domain.train) and len(domain.test), entry


@pytest.mark.parametrize("name", ["--only", "--images-per-class"])
def test_mistakes_are_one_sentence(name, tmp_path, capsys):
    assert write(tmp_path / "root", name, "0") == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_folders_of_others_are_refused(tmp_path, capsys):
    (tmp_path / "photo.jpg").touch()
    assert write(tmp_path, "--only", "eurosat") == 2
    assert "is not empty, and no rehearsal wrote it" in capsys.readouterr().err


def test_an_interrupted_rehearsal_continues(tmp_path, capsys, monkeypatch):
    root, save = tmp_path / "root", Content.by_class
    assert write(root, "--only", "eurosat") == 0
    before = {path: path.stat().st_mtime_ns for path in (root / "eurosat").rglob("*.jpg")}
    monkeypatch.setattr(Content, "by_class", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(root, "--only", "eurosat", "dtd")
    assert not (root / "dtd").exists() and set(json.loads((root / "rehearsal.json").read_text())["done"]) == {"eurosat"}
    monkeypatch.setattr(Content, "by_class", save)
    assert write(root, "--only", "eurosat", "dtd") == 0
    assert len(full.build("DTD", root).train) == 47
    assert before == {path: path.stat().st_mtime_ns for path in (root / "eurosat").rglob("*.jpg")}
    assert rehearsal.main(["--root", str(root), "--images-per-class", "2"]) == 2
    assert "of other settings (images_per_class 1" in capsys.readouterr().err


def test_random_weights_load_in_three_formats(tmp_path):
    paths = weights.write(tmp_path, "tiny", seed=1)
    openai, plain, training = (models.load("tiny", str(path)).state_dict() for path in paths)
    assert [path.name for path in paths] == ["tiny-openai.pt", "tiny.safetensors", "tiny-epoch_1.pt"]
    assert all(torch.equal(plain[key], training[key]) for key in plain)
    assert all(torch.allclose(plain[key], openai[key], atol=1e-3, rtol=1e-3) for key in plain)


def test_the_tiny_model_with_longer_prompts_encodes_short_ones_as_before(tmp_path):
    weights.write_longer(tmp_path / "longer")
    short, longer = models.load("tiny"), models.load(str(tmp_path / "longer"))
    prompts = ["a photo of a dog.", "the number 7."]
    with torch.no_grad():
        expected, encoded = (model.encode_texts(model.tokenize(prompts)) for model in (short, longer))
    assert torch.allclose(encoded, expected, atol=1e-5)
    names = ("a photo of a Aston Martin V8 Vantage Convertible 2012.", "a photo of a Aston Martin V8 Vantage Coupe 2012.")
    assert not torch.equal(*longer.tokenize(names))


def test_pictures_of_a_class_look_alike():
    """The mean picture of other numbers is nearer than that of any other of ten classes."""
    names = list(SETS["pets"].class_names(1))[:10]
    colours = {
        name: [np.asarray(draw(name, number, (32, 32)), dtype=float).mean((0, 1)) for number in range(9)] for name in names
    }
    centres = np.array([np.mean(colours[name][:8], axis=0) for name in names])
    nearest = [int(((centres - colours[name][8]) ** 2).sum(1).argmin()) for name in names]
    assert sum(label == index for index, label in enumerate(nearest)) >= 7


def test_pictures_are_deterministic_and_numbers_and_seeds_differ():
    one = draw("golden_retriever", 0, (40, 30))
    assert one.size == (40, 30) and one.tobytes() == draw("golden_retriever", 0, (40, 30)).tobytes()
    assert one.tobytes() != draw("golden_retriever", 1, (40, 30)).tobytes()
    assert one.tobytes() != draw("golden_retriever", 0, (40, 30), seed=1).tobytes()
    assert (look("Golden Retriever").colours == look("golden_retriever").colours).all()


def test_real_sizes(tmp_path):
    one = Painter(SETS["imagenet"], Settings(real_sizes=True))
    small = Painter(SETS["imagenet"], Settings())
    sizes = [max(one.draw("n01440764", number, None).size) for number in range(20)]
    assert 350 <= min(sizes) < max(sizes) <= 710 and max(small.draw("n01440764", 0, None).size) == 64
    assert Image.open(io.BytesIO(one.encode("n01440764", 0, ".JPEG"))).mode == "CMYK"


@pytest.mark.slow
def test_a_bench_over_all_eleven_sets(tmp_path, monkeypatch):
    """The full edition's Order I, unchanged except for its templates: one per dataset is quicker."""
    for name in suite("mtil"):
        monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], templates=ENTRIES[name].templates[:1]))
    root = tmp_path / "root"
    assert write(root, "--only", "mtil") == 0
    weights.write_longer(tmp_path / "longer")
    common = ["--edition", "full", "--data-root", str(root), "--model", str(tmp_path / "longer"), "--quiet"]
    common += ["--out", str(tmp_path / "results"), "--strategy", "finetune", "--tuning", "visual"]
    assert cli.main(["bench", "mtil", *common, "--limit", "8", "--set", "iterations=1"]) == 0
    table = pd.read_csv(next((tmp_path / "results").glob("mtil-full-I/*/accuracy.csv")))
    assert table.task.nunique() == 11 and sorted(table.after.unique()) == list(range(12))


@pytest.mark.slow
def test_two_sets_can_be_learned(tmp_path):
    """Fine-tuning gains much on EuroSAT and MNIST, whose classes the tiny model knows little about."""
    root = tmp_path / "root"
    arguments = ["--root", str(root), "--images-per-class", "8", "--no-weights", "--only", "EuroSAT", "MNIST"]
    assert rehearsal.main(arguments) == 0
    weights.write_longer(tmp_path / "longer")
    bench = ["bench", "mtil", "--order", "EuroSAT,MNIST", "--edition", "full", "--data-root", str(root), "--quiet"]
    bench += ["--model", str(tmp_path / "longer"), "--out", str(tmp_path / "results"), "--strategy", "finetune"]
    assert cli.main([*bench, "--set", "iterations=20", "lr=0.001", "batch_size=20"]) == 0
    table = pd.read_csv(next((tmp_path / "results").glob("*/*/accuracy.csv"))).set_index(["after", "task"]).accuracy
    assert table[1, "EuroSAT"] > table[0, "EuroSAT"] + 30 and table[2, "MNIST"] > table[0, "MNIST"] + 30
