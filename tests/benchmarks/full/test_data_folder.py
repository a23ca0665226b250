"""States of datasets in a data folder: counted without torch, equal to the readers' data."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.full import data_folder
from benchmarks.full.dataset_table import ENTRIES, Hub, suite
from benchmarks.full.downloads import fetchable
from benchmarks.reference_lookup import CAPTIONS
from models.registry import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sized(monkeypatch):
    """A function that sets the table's sizes of a dataset to those of the made-up data."""

    def resize(name, made):
        sizes = {split: made.sizes.get(split) for split in ("train", "val", "test")}
        monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], classes=made.classes, **sizes))

    return resize


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_counts_are_those_of_the_made_up_data(name, full_made, sized):
    root, made = full_made
    state = data_folder.state(name, root)
    stated = any(ENTRIES[name].sizes.values())
    assert (state.kind, state.complete) == (("incomplete", False) if stated else ("complete", True)) and state.notes == ()
    sizes = made[name].sizes
    assert state.counts == ({"all": sum(sizes.values())} if ENTRIES[name].cut else sizes)
    sized(name, made[name])
    assert data_folder.state(name, root).kind == "complete"


@pytest.mark.parametrize("name", ENTRIES)
def test_missing(name, tmp_path):
    state = data_folder.state(name, tmp_path)
    assert (state.kind, state.counts, state.places) == ("missing", {}, ())


def test_an_empty_folder_is_missing_data(tmp_path):
    (tmp_path / "dtd" / "dtd").mkdir(parents=True)
    assert data_folder.state("DTD", tmp_path).kind == "missing"


MISSING = [
    ("Aircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt"),
    ("Aircraft", "fgvc-aircraft-2013b/data/variants.txt"),
    ("CIFAR100", "cifar-100-python/meta"),
    ("cifar10", "cifar-10-batches-py/data_batch_3"),
    ("Flowers", "flowers-102/imagelabels.mat"),
    ("Food", "food-101/meta/test.json"),
    ("MNIST", "MNIST/raw/t10k-labels-idx1-ubyte"),
    ("OxfordPet", "oxford-iiit-pet/annotations/test.txt"),
    ("StanfordCars", "stanford_cars/cars_test_annos_withlabels.mat"),
    ("gtsrb", "gtsrb/GT-final_test.csv"),
    ("kitti", "Kitti/raw/mapping"),
    ("kitti", "Kitti/raw/mapping/train_rand.txt"),
    ("resisc45", "resisc45/resisc45-val.txt"),
    ("sun397", "SUN397/Testing_01.txt"),
    ("svhn", "svhn/test_32x32.mat"),
    ("stl10", "stl10_binary/class_names.txt"),
    ("imagenet", "imagenet/val"),
    ("tinyimagenet", "tiny-imagenet-200/val/val_annotations.txt"),
]


@pytest.mark.parametrize(("name", "file"), MISSING)
def test_what_is_lacking_is_named(name, file, full_roots, tmp_path, sized):
    sized(name, full_roots.write(tmp_path, [name])[name])
    path = tmp_path / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    state = data_folder.state(name, tmp_path)
    assert state.kind == "incomplete" and f"{path} is missing" in state.notes


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("CIFAR100", "cifar-100-python/test"),
        ("Flowers", "flowers-102/setid.mat"),
        ("Food", "food-101/meta/test.json"),
        ("svhn", "svhn/test_32x32.mat"),
        ("MNIST", "MNIST/raw/t10k-images-idx3-ubyte"),
        ("stl10", "stl10_binary/test_X.bin"),
    ],
)
def test_a_file_cut_short_is_not_complete(name, file, full_roots, tmp_path, sized):
    sized(name, full_roots.write(tmp_path, [name])[name])
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 3])
    assert data_folder.state(name, tmp_path).kind == "incomplete"


def test_fewer_and_more_images(full_roots, tmp_path, sized):
    sized("EuroSAT", full_roots.write(tmp_path, ["EuroSAT"])["EuroSAT"])
    (tmp_path / "eurosat/2750/Forest/Forest_1.jpg").unlink()
    assert data_folder.state("EuroSAT", tmp_path).kind == "incomplete" and data_folder.state("EuroSAT", tmp_path).counts == {
        "all": 29
    }
    for number in (1, 11):
        full_roots.save(tmp_path / f"eurosat/2750/Forest/Forest_{number}.jpg", 1, number)
    state = data_folder.state("EuroSAT", tmp_path)
    assert (state.kind, state.counts, state.complete) == ("differs", {"all": 31}, False)


def test_hub_copies_are_counted_by_their_headers(full_roots, tmp_path, monkeypatch):
    row = replace(ENTRIES["MNIST"], train=20, test=10)
    monkeypatch.setitem(ENTRIES, "MNIST", row)
    folder = tmp_path / "hub" / "MNIST"
    full_roots.write_hub(folder, {"train": 20, "test": 10}, list("0123456789"), "image", "label")
    state = data_folder.state("MNIST", tmp_path)
    assert (state.kind, state.is_hub_copy, state.complete, state.counts) == ("hub copy", True, True, {"train": 20, "test": 10})
    assert state.places == (folder,)
    monkeypatch.setitem(ENTRIES, "MNIST", replace(row, train=21))
    assert data_folder.state("MNIST", tmp_path).kind == "incomplete"
    next((folder / "test").glob("*.arrow")).write_bytes(b"no arrow")
    state = data_folder.state("MNIST", tmp_path)
    assert state.kind == "incomplete" and "cannot be counted, a file is damaged" in state.notes[0]


def test_a_set_that_comes_whole_as_hub_copy(full_roots, tmp_path, monkeypatch):
    monkeypatch.setitem(ENTRIES, "EuroSAT", replace(ENTRIES["EuroSAT"], train=16, test=4))
    full_roots.write_hub(tmp_path / "hub/EuroSAT", {"train": 10, "validation": 6, "test": 4}, ["a", "b"], "image", "label")
    state = data_folder.state("EuroSAT", tmp_path)
    assert (state.kind, state.counts) == ("hub copy", {"all": 20})


def test_a_hub_copy_without_a_split(full_roots, tmp_path, monkeypatch):
    monkeypatch.setitem(ENTRIES, "MNIST", replace(ENTRIES["MNIST"], train=20, test=10))
    full_roots.write_hub(tmp_path / "hub/MNIST", {"train": 20}, list("0123456789"), "image", "label")
    state = data_folder.state("MNIST", tmp_path)
    assert state.kind == "incomplete" and state.counts == {"train": 20, "test": 0}


@pytest.mark.parametrize("parquet", [None, "data"])
def test_a_hub_copy_without_class_names_is_incomplete(parquet, full_roots, tmp_path):
    """`fetch --from hub`, which the readers' error suggests, must replace it."""
    import datasets

    full_roots.write_hub(tmp_path / "hub/Food", {"train": 2, "validation": 2}, ["a", "b"], "image", "label", parquet)
    notes = "the hub copy {} has no class names"
    assert notes.format(tmp_path / "hub/Food") not in data_folder.state("Food", tmp_path).notes
    rows = datasets.Dataset.from_dict({"image": [b"1", b"2"], "label": [0, 1]})
    if parquet is None:
        datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(str(tmp_path / "hub/food101"))
    else:
        (tmp_path / "hub/food101").mkdir()
        rows.to_parquet(str(tmp_path / "hub/food101/train-00000-of-00001.parquet"))
    state = data_folder.state("food101", tmp_path)
    assert state.kind == "incomplete" and notes.format(tmp_path / "hub/food101") in state.notes


def test_images_that_are_all_missing_beside_a_hub_copy(full_roots, tmp_path, monkeypatch):
    monkeypatch.setitem(ENTRIES, "dtd", replace(ENTRIES["dtd"], train=4, test=2))
    full_roots.write(tmp_path, ["dtd"])
    full_roots.write_hub(tmp_path / "hub/dtd", {"train": 4, "test": 2}, ["banded", "dotted"], "image", "label")
    assert not data_folder.state("dtd", tmp_path).is_hub_copy
    shutil.rmtree(tmp_path / "dtd/dtd/images")
    assert data_folder.state("dtd", tmp_path).kind == "hub copy"


def test_parquet_copies_are_not_counted(full_roots, tmp_path):
    full_roots.write_hub(
        tmp_path / "hub/MNIST", {"train": 20, "test": 10}, list("0123456789"), "image", "label", parquet="data"
    )
    state = data_folder.state("MNIST", tmp_path)
    assert (state.kind, state.counts) == ("hub copy", {"train": None, "test": None})


def test_incomplete_files_beside_a_hub_copy(full_roots, tmp_path, monkeypatch):
    """Like the readers: the layout is used if no file is missing, even with few images. Otherwise the copy is used."""
    monkeypatch.setitem(ENTRIES, "MNIST", replace(ENTRIES["MNIST"], train=30, test=10))
    full_roots.write(tmp_path, ["MNIST"])
    full_roots.write_hub(tmp_path / "hub/MNIST", {"train": 30, "test": 10}, list("0123456789"), "image", "label")
    assert not data_folder.state("MNIST", tmp_path).is_hub_copy
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert data_folder.state("MNIST", tmp_path).kind == "hub copy"


def test_a_hub_copy_saved_without_splits(full_roots, tmp_path):
    import datasets

    folder = tmp_path / "hub" / "Caltech101"
    datasets.Dataset.from_dict({"image": [b"1", b"2"], "label": [0, 1]}).save_to_disk(str(folder))
    assert isinstance(ENTRIES["Caltech101"].hub, Hub)
    assert data_folder.state("Caltech101", tmp_path).counts == {"all": 2}


def test_chosen():
    assert data_folder.chosen(["cil", "Food", "cub"]) == [*suite("cil"), "Food"]
    assert len(data_folder.chosen(["mtil"])) == 11
    with pytest.raises(UserError, match="Did you mean Flowers"):
        data_folder.chosen(["Flower"])


def test_fetchable():
    by_hand = {name for name, row in ENTRIES.items() if not fetchable(row)}
    assert by_hand == {"imagenet", "imagenet100", "objectnet"}


def test_size(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"12345")
    (tmp_path / "a" / "y").write_bytes(b"123")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    assert data_folder.size(tmp_path / "a") == 8 + (tmp_path / "a" / "loop").lstat().st_size
    assert data_folder.size(tmp_path / "a" / "y") == 3 and data_folder.size(tmp_path / "none") == 0


def test_references(full_roots, tmp_path):
    imagenet, captions = data_folder.references(tmp_path)
    assert not imagenet.present and not captions.present and "image-net.org" in imagenet.how_to_get
    full_roots.write(tmp_path, ["imagenet"])
    folder = tmp_path / "conceptual_captions"
    full_roots.save(folder / "val" / "1.jpg", 1, 1)
    (folder / CAPTIONS).write_text("title\tfilepath\na dog\tval/1.jpg\na cat\tval/2.jpg\n\tval/1.jpg\n")
    imagenet, captions = data_folder.references(tmp_path)
    assert imagenet.present and imagenet.summary == "4 class folders of reference images"
    assert captions.present and captions.summary == "2 reference sentences, 2 of their images"
    (folder / CAPTIONS).write_bytes(b"title\xff\n")
    assert not data_folder.references(tmp_path)[1].present and "cannot be read" in data_folder.references(tmp_path)[1].summary


@pytest.mark.slow
def test_no_torch(full_data):
    root = str(full_data)
    code = (
        "import sys, json\nfrom benchmarks.full import data_folder\n"
        f"kinds = [data_folder.state(name, {root!r}).kind for name in data_folder.ENTRIES]\ndata_folder.references({root!r})\n"
        "print(json.dumps([len(kinds), sorted({'torch', 'torchvision', 'datasets', 'avalanche'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [len(ENTRIES), []], done.stderr
