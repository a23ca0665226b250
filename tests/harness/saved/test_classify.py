"""`classify` on files and folders, and runs from Python."""

import re

import numpy as np
import pytest
from PIL import Image

import cli
import perennial
from harness.records.files import read_csv
from harness.saved.image_files import image_files
from models.registry import UserError


@pytest.fixture
def photos(tmp_path):
    """A folder with two images, one in a folder below, and what is not an image."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for name, colour in (("a.png", (200, 30, 30)), ("b/c.jpg", (30, 30, 200))):
        Image.fromarray(np.full((30, 40, 3), colour, np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_image_files(photos, tmp_path):
    both = [photos / "a.png", photos / "b" / "c.jpg"]
    assert image_files([str(photos)]) == both
    # A named file is read whatever its name is, and counts once.
    assert image_files([str(photos / "notes.txt"), str(photos), str(both[0])]) == [photos / "notes.txt", *both]
    (tmp_path / "empty").mkdir()
    for word, message in (("empty", "There is no image in the folder"), ("gone.png", "There is no image or folder")):
        with pytest.raises(UserError, match=message):
            image_files([str(tmp_path / word)])


@pytest.mark.slow
def test_the_command(finished, photos, tmp_path, capsys):
    folder, table = finished("rail", {"width": 8}), tmp_path / "answers.csv"
    words = ["classify", "--run", str(folder), "--device", "cpu"]
    assert cli.main([*words, str(photos), "--top", "2", "--csv", str(table)]) == 0
    shown = capsys.readouterr().out
    rows = read_csv(table)
    assert [(row["image"], row["rank"]) for row in rows] == [
        (str(photos / name), rank) for name in ("a.png", "b/c.jpg") for rank in "12"
    ]
    saved = perennial.load_run(folder)
    for row, answer in zip(
        rows, [a for each in saved.top([photos / "a.png", photos / "b/c.jpg"], 2) for a in each], strict=True
    ):
        assert (row["task"], row["class"]) == answer[:2] and float(row["probability"]) == pytest.approx(answer[2], rel=1e-4)
        assert re.search(rf"{float(row['probability']):.3f}\s+{row['class']}\s+{row['task']}", shown)
    # Unreadable images are named, and the others are classified.
    assert cli.main([*words, str(photos / "notes.txt"), str(photos / "a.png"), "--tasks", "grey", "--quiet"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(r"perennial: Cannot read the image .*notes\.txt: .*\n", said.err)
    for arguments, message in (
        ([str(photos / "notes.txt")], "None of the images can be read."),
        ([str(photos), "--tasks", "gray"], "Unknown task of the run 'gray'"),
        ([str(photos), "--top", "0"], "--top must be at least 1, got 0."),
        ([str(photos), "--after", "1"], "keeps no weights after task 1. Kept: 2."),
    ):
        assert cli.main([*words, *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_bench_in_python(two_tasks, model_directory, tmp_path, capsys):
    options = {"iterations": 1, "batch_size": 8, "warmup": 0}
    settings = {"model": str(model_directory), "out": str(tmp_path / "results"), "measure_n": 4, "device": "cpu"}
    result = perennial.bench(two_tasks, "wise-ft", options=options, quiet=True, **settings)
    assert capsys.readouterr().out == ""
    assert result.accuracy.to_dict("records") == [
        {
            **row,
            "after": int(row["after"]),
            "accuracy": float(row["accuracy"]),
            "correct": int(row["correct"]),
            "n": int(row["n"]),
        }
        for row in read_csv(result.folder / "accuracy.csv")
    ]
    cell = result.accuracy.iloc[-1]
    assert result.rows[2][cell.stream, cell.task].percent == cell.accuracy
    for shown in (repr(result), result._repr_html_()):
        assert "zero-shot" in shown and "(grey)" in shown and f"{cell.accuracy:.1f}" in shown
    assert f"Average {result.summary['average']:.1f}" in result._repr_html_()
    assert result.model().after == 2
    for wrong, message in (
        ({"seeed": 1}, "Unknown setting 'seeed'. Did you mean seed"),
        ({"seed": "one"}, "seed takes whole numbers and ranges"),
        ({"strategy": "zscll"}, "Unknown strategy 'zscll'"),
    ):
        with pytest.raises(UserError, match=message):
            perennial.bench(two_tasks, **{**settings, **wrong})
