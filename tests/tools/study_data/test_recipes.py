"""The source pictures of every task, made from hand-made packages in the real layouts. SVG is not rendered."""

import gzip
import os
import pickle
import re

import numpy as np
import pytest

from benchmarks.broad import files as reader
from benchmarks.broad.study_data_rows import STUDY_DATA
from models.registry import UserError
from tools.study_data import __main__ as command
from tools.study_data import animals, characters, division, emoji, files, flags, games, icons, svg
from tools.study_data.packages import PACKAGES
from tools.study_data.recipes import RECIPES


def counts(splits):
    return {split: len(sources) for split, sources in splits.items()}


def test_every_task_has_a_recipe_and_every_package_is_used():
    assert RECIPES.keys() == STUDY_DATA.keys()
    assert {package for recipe in RECIPES.values() for package in recipe.packages} == PACKAGES.keys()


def test_class_names_fit_the_sources():
    lengths = {name: len(task.classnames) for name, task in STUDY_DATA.items()}
    assert lengths["flags-europe"] == len(flags.EUROPE) and lengths["flags-continent"] == len(flags.CONTINENTS)
    assert STUDY_DATA["clip-art"].classnames == tuple(icons.CLIP_ART)
    assert STUDY_DATA["health-icons"].classnames == tuple(icons.HEALTH)
    assert STUDY_DATA["scripts"].classnames == tuple(characters.SCRIPTS)
    assert lengths["strokes"] == len(characters.STROKES) and lengths["emoji-groups"] == len(emoji.GROUPS)
    assert lengths["desktop-icons"] == len(icons.CONTEXTS)
    assert STUDY_DATA["chess"].classnames[7] == "black queen" and STUDY_DATA["cards"].classnames[13] == "ace of diamonds"


@pytest.mark.parametrize("name", RECIPES)
def test_splits_share_no_source_picture(read, name):
    opened = set()

    def noting(package, wanted):
        opened.add(package)
        return read(package, wanted)

    recipe = RECIPES[name]
    splits = recipe.sources(noting)
    assert opened == set(recipe.packages)
    division.check_disjoint(name, splits)
    present = len(characters.SCRIPTS) if name == "scripts" else len(STUDY_DATA[name].classnames)
    for split in ("train", "val", "test"):
        assert {source.label for source in splits[split]} == set(range(present)), split
    assert ("ood" in splits) == (STUDY_DATA[name].ood > 0)
    # Another vendor or another set is one group, so only groups of tasks that are divided at random are compared.
    if name in ("flags-continent", "emoji-groups", "scripts", "clip-art", "desktop-icons", "health-icons"):
        groups = [{(source.label, source.group) for source in splits[split]} for split in ("train", "val", "test")]
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_numbers_of_sources(read):
    # Of 12 a class, one is a duplicate; tenths are 1 each.
    assert counts(animals.silhouettes(read)) == {"train": 99, "val": 10, "test": 10}
    assert counts(flags.european(read)) == {"train": 2 * 51, "val": 51, "test": 51, "ood": 2 * 51}
    chess = counts(games.chess(read))
    assert chess == {"train": 15 * 12, "val": 4 * 12, "test": 6 * 12, "ood": 12}
    assert counts(games.cards(read)) == {"train": 14 * 52, "val": 2 * 52, "test": 5 * 52, "ood": 2 * 52}
    # The 24-pixel form of an icon is left out.
    assert sum(counts(icons.health(read)).values()) == 18 * 5 * 2


def test_a_sheet_has_black_pieces_in_its_first_row(read, monkeypatch):
    sheet = np.zeros((20, 60, 4), np.uint8)
    sheet[:10, :10] = (10, 10, 10, 255)
    sheet[10:, 50:] = (250, 250, 250, 255)
    from PIL import Image

    monkeypatch.setattr(svg, "picture", lambda source, width=96: Image.fromarray(sheet))
    pieces = games._pieces({"usr/share/pychess/pieces/celtic/celtic.svg": b"<svg/>"}, "celtic")
    assert [(piece.key, piece.label) for piece in pieces] == [("celtic wp", 5), ("celtic bk", 6)]
    assert pieces[1].image.getpixel((48, 48)) == (10, 10, 10, 255)


class Command:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (gzip.compress(pickle.dumps(Command())), "system is not allowed"),
        (gzip.compress(pickle.dumps([1])), "holds a list, expected an array"),
        (b"no gzip", "Cannot read animal_data_version_3.gz"),
        (gzip.compress(pickle.dumps(np.zeros((3, 2, 2), np.uint8))), "1 labels and images of shape"),
    ],
    # Packed bytes as ids would differ between the processes of the tests: they hold the time.
    ids=["command", "list", "not packed", "shape"],
)
def test_other_pickles_are_refused(packed, problem):
    folder = "animal_mnist/data/Animal_MNIST"
    labels = gzip.compress(pickle.dumps(np.zeros(1, np.int64)))
    stored = {f"{folder}/animal_data_version_3.gz": packed, f"{folder}/animal_label_version_3.gz": labels}
    with pytest.raises(UserError, match=re.escape(problem)):
        animals.silhouettes(lambda package, wanted: stored)


def test_files_are_those_that_the_suite_reads(read, monkeypatch, tmp_path):
    splits = RECIPES["textiles"].sources(read)
    sizes = counts(splits)
    task = STUDY_DATA["textiles"]._replace(sizes=(sizes["train"], sizes["val"], sizes["test"]))
    monkeypatch.setitem(STUDY_DATA, "textiles", task)
    line = command.make("textiles", read, tmp_path / "broad")
    assert line.startswith(f"textiles: 3 classes, train {sizes['train']} / val {sizes['val']} / test {sizes['test']}, ")
    arrays = reader.read("textiles", task, str(tmp_path))
    assert arrays["train_images"].shape == (sizes["train"], 3, 48, 48)
    notes = (tmp_path / "broad" / "textiles.txt").read_text()
    assert "Licence: MIT" in notes and "pypi conformal-clip-data 0.1.4, MIT, SHA-256" in notes
    first = (tmp_path / "broad" / "textiles.npz").read_bytes()
    command.make("textiles", read, tmp_path / "broad")
    assert (tmp_path / "broad" / "textiles.npz").read_bytes() == first
    with pytest.raises(ValueError, match="but its row in"):
        files.write(tmp_path, "textiles", task._replace(sizes=(1, 1, 1)), (), arrays)


def test_mistakes_end_in_one_sentence(capsys, monkeypatch, tmp_path):
    assert command.main(["--only", "chest"]) == 2
    assert "Unknown task 'chest'. Did you mean chess?" in capsys.readouterr().err

    def offline(package, folder):
        raise UserError("Cannot fetch pychess 1.0.3-1.")

    monkeypatch.setattr("tools.clients.fetch", offline)
    assert command.main(["--only", "chess", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "Cannot fetch pychess 1.0.3-1.\n" and not list(tmp_path.iterdir())


def test_svg_is_rendered():
    pytest.importorskip("resvg_py", reason="the extra study-data is not installed")
    icon = svg.icon({"icons": {"box": {"body": '<path fill="red" d="M0 0h8v16H0z"/>'}}}, "box")
    picture = svg.picture(icon, 32)
    assert svg.picture('<svg xmlns="http://www.w3.org/2000/svg" width="8mm" height="4mm"/>', 32).size == (32, 16)
    assert picture.size == (32, 32) and picture.getpixel((4, 16)) == (255, 0, 0, 255) and picture.getpixel((28, 16))[3] == 0
    assert svg.picture("<svg") is None and svg.icon({"icons": {}}, "box") is None
