"""The rehearsal of the full edition: its folder, and one run of the full edition on it."""

import json

import pytest

from benchmarks import full
from benchmarks.full.dataset_table import ENTRIES
from tools import rehearsal
from tools.rehearsal_data.content import Content
from tools.rehearsal_data.sets import SETS, chosen


def write(root, *arguments):
    return rehearsal.main(["--root", str(root), "--images-per-class", "1", "--no-weights", "--workers", "1", *arguments])


def test_classes_are_those_of_the_table():
    for one in SETS.values():
        for entry in one.entries:
            if entry in ENTRIES and not entry.startswith("coop"):
                extra = {"Caltech101": 1, "imagenet100": 900}.get(entry, 0)
                assert len(one.class_names(1)) == ENTRIES[entry].classes + extra, entry


def test_names_of_sets():
    assert len(chosen(["mtil"])) == 11 and chosen(["AIRCRAFT", "Caltech101"]) == ["aircraft", "caltech101"]
    assert chosen([]) == list(SETS)
    assert set(chosen(["paint"])) >= {"cars", "kitti", "imagenet", "stl10", "food101"}


def test_every_set_is_read_by_its_entries(tmp_path, monkeypatch, capsys):
    """With six classes of each. Splits have the planned sizes, and no image is in two."""
    for one in SETS.values():
        names = dict(list(one.names().items())[:6])
        monkeypatch.setattr(type(one), "class_names", lambda self, count: dict(list(self.names().items())[:6]))
        assert names
    assert write(tmp_path / "root") == 0
    for one in SETS.values():
        for entry in one.entries:
            if entry in ENTRIES and entry not in ("Flowers",):
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
