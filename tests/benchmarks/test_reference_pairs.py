"""Reference pairs from a folder and a table: which image belongs to which sentence, for all tasks or for each."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.pair_lookup import check, find_pairs, version
from benchmarks.reference_pairs import load
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models.registry import UserError

TASKS = ("red", "green", "blue")


def write(folder, values, named="{}.png"):
    """Write images of one grey value each, and a table with the sentence "grey VALUE" for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        Image.fromarray(np.full((48, 48, 3), value, np.uint8)).save(folder / f"{value}.png")
    lines = ["image,text", *(f"{named.format(value)},grey {value}" for value in values)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return str(folder)


def greys(reference):
    return [f"grey {int(image.float().mean())}" for image in reference.images[torch.arange(len(reference.images))]]


@pytest.mark.parametrize("named", ["{}.png", "./data/other/images/{}.png"])
def test_a_sentence_belongs_to_its_image(tmp_path, named):
    folder = write(tmp_path / "made", (200, 10, 90), named=named)
    # A row without an image file, as in a table with more prompts than pictures, and a row without a sentence.
    with open(f"{folder}/pairs.csv", "a") as table:
        table.write("99.png,grey 99\n10.png,\n")
    for sentences in (folder, f"{folder}/pairs.csv"):
        loaded = load(folder, sentences, 48, TASKS, cache=False)
        assert loaded.sentences == ["grey 200", "grey 10", "grey 90"] == greys(loaded) and loaded.rows is None


def test_a_table_elsewhere_and_other_columns(tmp_path):
    folder = write(tmp_path / "images", (10, 20))
    (tmp_path / "captions.tsv").write_text("file_name\tcaption\n20.png\tgrey 20\n")
    assert find_pairs(folder, str(tmp_path / "captions.tsv"), TASKS).sentences == ["grey 20"]


def test_other_pairs_for_every_task(tmp_path, home):
    for i, task in enumerate(TASKS):
        write(tmp_path / f"{task}_made", range(10 * i + 10, 10 * i + 12 + i))
    name = str(tmp_path / "{task}_made")
    loaded = load(name, name, 48, TASKS)
    assert loaded.rows == {"red": range(2), "green": range(2, 5), "blue": range(5, 9)}
    assert loaded.sentences == greys(loaded) and loaded.sentences[5] == "grey 30" and len(loaded.images) == 9
    assert version(name, name, TASKS) != version(name, name, TASKS[::-1])


def test_the_version_is_that_of_images_and_sentences(tmp_path):
    folder = write(tmp_path / "made", (10, 20))
    before = version(folder, folder, TASKS)
    assert len(before) == 12 and version(folder, f"{folder}/pairs.csv", TASKS) == before
    (tmp_path / "made" / "pairs.csv").write_text("image,text\n10.png,grey 10\n20.png,another\n")
    assert version(folder, folder, TASKS) != before
    assert version("mini", "mini", TASKS) is None and version(*["conceptual_captions"] * 2, TASKS, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("images", "sentences", "message"),
    [
        ("mini", "pairs.csv", "need images and sentences of one set"),
        ("nowhere", "made/other.csv", "There is no folder of reference images"),
        ("made", "nowhere.csv", "does not exist. Set reference_sentences to one table"),
        ("empty", "empty", r"has 0 tables \(.csv or .tsv\)"),
        ("made", "made", r"has 3 tables \(.csv or .tsv\)"),
        ("made", "made/no_column.csv", "has no column text, caption or title"),
        ("empty", "made/other.csv", "None of the images that .* names"),
        ("conceptual_captions", "conceptual_captions", "No reference data: put"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, images, sentences, message):
    write(tmp_path / "made", (10,))
    (tmp_path / "made" / "no_column.csv").write_text("image\n10.png\n")
    (tmp_path / "made" / "other.csv").write_text("image,text\nmissing.png,grey\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        find_pairs(images, sentences, TASKS, "data")


def test_the_check_opens_nothing(tmp_path):
    check("anything", "else", str(tmp_path))
    with pytest.raises(UserError, match="No reference data"):
        check("conceptual_captions", "conceptual_captions", str(tmp_path))


@pytest.mark.slow
def test_the_drawn_pairs_name_what_they_show():
    from benchmarks.mini import reference

    images, sentences = reference.pairs()
    assert images.shape == (1500, 3, 48, 48) and images.dtype == torch.uint8 and len(sentences) == 1500
    subjects = {*reference.icon_subjects(), *(name.replace("-", " ") for _, name in reference.symbols())}
    starts = [template.split("{}")[0] for template in reference._NAME_TEMPLATES]
    assert all(any(s.removeprefix(start).rstrip(".") in subjects for start in starts) for s in sentences)
    loaded = load("mini", "mini", 48, TASKS)
    assert torch.equal(loaded.images, images) and loaded.sentences == sentences


@pytest.mark.slow
def test_a_run_with_pairs_of_each_task(toy_benchmark, model_directory, tmp_path):
    for i, task in enumerate(TASKS):
        write(tmp_path / task, range(10 * i + 10, 10 * i + 16))
    options = {"iterations": 2, "batch_size": 8, "warmup": 0, "reference_batch": 4}
    options["reference_images"] = str(tmp_path / "{task}")
    config = RunConfig(
        toy_benchmark, "gift", model=str(model_directory), measure_n=4, options=options, out=str(tmp_path / "results")
    )
    folder = run(config, Screen(quiet=True)).folder
    document = json.loads((folder / "run.json").read_text())
    assert document["reference"]["images"] == {"name": str(tmp_path / "{task}"), "n": 18}
    assert document["reference"]["sentences"]["n"] == 18 and document["identity"]["reference_version"]
    header = (folder / "train.csv").read_text().split("\n")[0]
    assert "image_alignment" in header and "l2" in header
