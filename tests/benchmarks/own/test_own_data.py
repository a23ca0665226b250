"""The data of a name, and its version."""

import re
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.catalog import find as find_source
from benchmarks.own import check_images, data_version, domain, find, from_folder, kind_of
from benchmarks.own.check import check_heads
from models.registry import UserError

ROOT = Path(__file__).parents[3]


def tree(root, counts):
    for key, n in counts.items():
        (root / key).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(root / key / f"{i}.png")
    return root


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Change to an empty working directory without a cache of Hugging Face datasets."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def test_kinds(place):
    tree(place / "pets", {"a": 3, "b": 3})
    tree(place / "root" / "pets", {"c": 3, "d": 3})
    tree(place / "root" / "birds", {"c": 3, "d": 3})
    tree(place / "owner" / "name", {"a": 3, "b": 3})
    (place / "x.csv").write_text("path,label\n")
    (place / "x.zip").write_text("")
    (place / "saved").mkdir()
    (place / "saved" / "dataset_dict.json").write_text("{}")
    (place / "parquet" / "data").mkdir(parents=True)
    (place / "parquet" / "data" / "train.parquet").write_text("")
    kinds = {
        "pets": "folder", "pets/": "folder", "birds": "folder", str(place / "pets"): "folder", "./pets": "folder",
        "owner/name": "folder", "x.csv": "csv", "x.zip": None, "saved": "hub-folder", "parquet": "hub-folder",
        "someone/cars": "hub", "someone/cars:small": "hub", "/some/where": None, "./some": None, "a/b/c": None, "nowhere": None,
        "": None,
    }  # fmt: skip
    assert {name: kind_of(name, "root") for name in kinds} == kinds
    assert find("pets", "root").place == str(place / "pets")
    assert find("birds", "root").place == str(place / "root" / "birds")


def test_the_domain_has_the_name_of_the_last_component(place):
    tree(place / "root" / "my" / "pets", {"a_1": 3, "b": 3})
    loaded = domain("my/pets/", "root", templates=["the {}"])
    assert loaded.name == "pets" and loaded.classnames == ("a 1", "b") and loaded.templates == ("the {}",)
    assert domain("my/pets", "root", classnames=["x", "y"]).classnames == ("x", "y")


def test_missing_data_messages_name_the_searched_places(place):
    with pytest.raises(UserError, match=r"No data called 'pets'.*no folder or data file pets or root/pets"):
        domain("pets", "root")
    with pytest.raises(UserError, match="No data called 'pets'"):
        data_version("pets", "root")
    (place / "x.zip").write_text("")
    with pytest.raises(UserError, match=r"x\.zip is an archive: unpack it and give the resulting folder"):
        domain("x.zip")


def test_version_of_a_folder(place):
    tree(place / "one", {"a": 3, "b": 3})
    tree(place / "elsewhere" / "two", {"b": 3, "a": 3})
    version = data_version("one")
    assert len(version) == 12 and int(version, 16) >= 0
    assert data_version("elsewhere/two") == version == data_version(place / "one")
    for ignored in (".hidden", "README.md", "images.zip", "a/Thumbs.db"):
        (place / "one" / ignored).write_text("x")
    assert data_version("one") == version
    (place / "one" / "classnames.txt").write_text("cat\ndog\n")
    named = data_version("one")
    (place / "one" / "classnames.txt").write_text("dog\ncat\n")
    renamed = data_version("one")
    (place / "one" / "a" / "0.png").rename(place / "one" / "b" / "9.png")
    assert len({version, named, renamed, data_version("one")}) == 4


def test_version_of_a_hub_name_depends_on_the_cache(place, tmp_path):
    absent = data_version("Someone/MyCars")
    assert absent != data_version("someone/other")
    info = tmp_path / "cache" / "Someone___my_cars" / "small" / "0.0.0" / "abc"
    info.mkdir(parents=True)
    (info / "dataset_info.json").write_text("{}")
    assert data_version("Someone/MyCars") != absent
    assert data_version("Someone/MyCars:small") != data_version("Someone/MyCars:large")


def test_finding_data_needs_no_torch(place):
    tree(place / "pets", {"a": 1, "b": 1})
    (place / "t.csv").write_text("path,label\npets/a/0.png,a\n")
    code = (
        "import sys; from benchmarks.own import kind_of, data_version; kind_of('pets'); data_version('pets'); "
        "data_version('t.csv'); data_version('a/b'); "
        "assert not {'torch', 'numpy', 'datasets'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT), "HF_HOME": str(place)})


def test_check_images_names_unreadable_images(place):
    tree(place, {"train/a": 300, "train/b": 1, "test/a": 1, "test/b": 1})
    (place / "train" / "b" / "0.png").write_bytes(b"no image")
    good = (place / "test" / "a" / "0.png").read_bytes()
    (place / "test" / "a" / "0.png").write_bytes(good[: len(good) // 2])
    loaded = from_folder(place)
    calls = []
    problems = check_images(loaded, progress=lambda *call: calls.append(call))
    assert len(problems) == 2
    assert "train/b/0.png" in problems[0] and "test/a/0.png" in problems[1]
    assert [call[:2] for call in calls] == [(256, 303), (301, 303), (303, 303)]
    assert check_images(loaded, splits=("val",)) == []
    assert len(check_images(loaded, splits=("test",))) == 1


def test_check_heads_finds_other_files_before_a_run(place):
    loaded = domain(tree(place / "PHOTOS", {"a": 20, "b": 20}))
    calls = []
    check_heads(loaded, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == 40
    first, second = (Path(path) for path in loaded.train.paths[:2])
    first.write_text("a text")
    with pytest.raises(UserError, match=f"^Cannot read the image {re.escape(str(first))}: it is a text file, not an image.$"):
        check_heads(loaded)
    check_heads(loaded, splits=("test",))
    second.unlink()
    with pytest.raises(UserError, match=f"^Cannot read the image {re.escape(str(first))}: .* There is 1 more"):
        check_heads(loaded)


def test_check_images_of_any_dataset(toy_domain):
    class Broken:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            raise RuntimeError("boom")

    from dataclasses import replace

    toys = toy_domain("toy")
    assert check_images(toys) == []
    assert check_images(replace(toys, test=Broken()), splits=("test",))[1] == (
        "Cannot read image 1 of the test split of toy: RuntimeError: boom."
    )


@pytest.mark.parametrize("kind", ["folder", "split", "csv", "hub"])
def test_photographs_are_upright_and_deep_grey_is_not_clipped(kind, place):
    """The pixels are the same for every kind of data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 4), (200, 0, 0)).save(place / "photos" / name / f"{number}.jpg", exif=exif)
        Image.fromarray(np.full((4, 8), 30000, dtype=np.uint16)).save(place / "photos" / name / "grey.png")
    files = sorted((place / "photos").rglob("*.*"))
    if kind == "split":
        for split in ("train", "test"):
            shutil.copytree(place / "photos", place / "parted" / split)
        loaded = domain("parted")
    elif kind == "csv":
        rows = [f"{path},{path.parent.name}" for path in files]
        (place / "photos.csv").write_text("\n".join(["path,label", *rows]) + "\n")
        loaded = domain("photos.csv")
    elif kind == "hub":
        import datasets

        rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in files], "label": ["a"] * 4 + ["b"] * 4}
        datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).save_to_disk("saved")
        loaded = domain("saved")
    else:
        loaded = domain("photos")
    images = [dataset[i][0] for dataset in (loaded.train, loaded.val, loaded.test) if dataset for i in range(len(dataset))]
    assert Counter(image.size for image in images) == ({(4, 8): 12, (8, 4): 4} if kind == "split" else {(4, 8): 6, (8, 4): 2})
    assert {image.getpixel((0, 0)) for image in images if image.size == (8, 4)} == {(117, 117, 117)}


def test_both_forms_of_accents_in_a_path_are_one_name(place):
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    tree(place / forms[1] / "pets", {"a": 3, "b": 3})
    tree(place / "root" / forms[0], {"a": 3, "b": 3})
    assert find(f"{forms[0]}/pets", "root").place == find(f"{forms[1]}/pets", "root").place == str(place / forms[1] / "pets")
    assert find_source(forms[1], data_root="root").name == find_source(forms[0], data_root="root").name == forms[0]
