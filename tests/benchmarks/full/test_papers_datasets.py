"""Every dataset of the table is built from made-up data in its real layout."""

import random
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision.datasets as tv
from torch.utils.data import random_split

from benchmarks import full
from benchmarks.data.dataset import targets_of
from benchmarks.data.images import ArrayImages, ImageFiles, fingerprint_of
from benchmarks.full import assemble, data_folder, read_folders
from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.readers import READERS, list_images
from models.registry import UserError

WHOLE = [name for name, row in ENTRIES.items() if row.cut]


def splits_of(domain):
    return {split: value for split in ("train", "val", "test") if (value := getattr(domain, split)) is not None}


def identities(dataset):
    """Return the identity of each image: its file, or its pixels."""
    if isinstance(dataset, ImageFiles):
        return [*dataset.paths]
    return [image.tobytes() for image in dataset.images]


def test_every_entry_has_a_reader_and_fake_data(full_roots):
    assert set(READERS) == set(ENTRIES) == set(full_roots.WRITERS)


def test_a_reader_opens_only_files_that_the_version_depends_on(full_data):
    row = replace(ENTRIES["Food"], reads=("food-101/meta/{train,test}.json",))
    with pytest.raises(NotImplementedError, match=r"`reads` of Food in benchmarks/full/table\.toml does not list images"):
        read_folders.food(DatasetFiles(row, full_data), "train")


def test_an_entry_without_a_reader_is_named(monkeypatch, tmp_path):
    """The data is not reported as damaged."""
    (tmp_path / "food-101").mkdir()
    (tmp_path / "food-101" / "x").touch()
    monkeypatch.setitem(ENTRIES, "New", replace(ENTRIES["Food"], name="New"))
    for ask in (full.build, data_folder.state):
        with pytest.raises(NotImplementedError, match=r"readers\.py has no reader for New: add it to READERS"):
            ask("New", tmp_path)


@pytest.mark.parametrize("name", ENTRIES)
def test_build(name, full_made):
    root, made = full_made
    seen = []
    domain = full.build(name, root, progress=lambda *call: seen.append(call))
    splits = splits_of(domain)
    assert {split: len(value) for split, value in splits.items()} == made[name].sizes
    assert len(domain.classnames) == made[name].classes
    assert domain.templates == ENTRIES[name].templates and domain.licence == ENTRIES[name].licence
    for value in splits.values():
        assert isinstance(value, ImageFiles | ArrayImages) and fingerprint_of(value)
        image, label = value[0]
        assert 0 <= label < len(domain.classnames) and image.size[0] >= 16
    everything = [item for value in splits.values() for item in identities(value)]
    assert len(set(everything)) == len(everything)
    done, total, what = seen[-1]
    assert done == total and name in what


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in WHOLE])
def test_evaluation_needs_no_training_data(name, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    domain = full.build(name, tmp_path)
    expected = identities(domain.test), domain.test.targets
    for value in (domain.train, domain.val):
        for path in getattr(value, "paths", ()):
            Path(path).unlink()
    for path in tmp_path.rglob("*"):
        relative = path.relative_to(tmp_path).as_posix()
        of_training = re.search(r"train(?!_test)|data_batch|valid", relative, re.I)
        if path.is_file() and of_training and not relative.startswith("Kitti"):
            path.unlink()
    again = full.build(name, tmp_path, ("test",))
    assert again.train is None and again.val is None
    assert (identities(again.test), again.test.targets) == expected


@pytest.mark.parametrize("name", WHOLE)
def test_evaluation_of_a_whole_set_opens_no_training_image(name, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    domain = full.build(name, tmp_path)
    for path in domain.train.paths:
        Path(path).write_bytes(b"")
    again = full.build(name, tmp_path, ("test",))
    assert again.train is None and again.test.paths == domain.test.paths
    assert [again.test[i][1] for i in range(len(again.test))] == targets_of(domain.test)


@pytest.mark.parametrize("name", ["Caltech101", "EuroSAT", "SUN397"])
def test_seeded_splits_are_random_splits_with_seed_42(name, full_data):
    domain = full.build(name, full_data)
    whole = sorted([*domain.train.paths, *domain.test.paths])
    sizes = [int(0.8 * len(whole)), len(whole) - int(0.8 * len(whole))]
    train, test = random_split(range(len(whole)), sizes, generator=torch.Generator().manual_seed(42))
    assert domain.train.paths == [whole[i] for i in train.indices]
    assert domain.test.paths == [whole[i] for i in test.indices]


def test_paints_eurosat_splits_off_mtils_test_set(full_data):
    mtil, paint = full.build("EuroSAT", full_data), full.build("eurosat", full_data)
    assert paint.train.paths == mtil.train.paths
    assert [*paint.val.paths, *paint.test.paths] == mtil.test.paths


@pytest.mark.parametrize("n", [10, 8677, 27000, 108754])
def test_cut_is_random_split(n):
    sizes = [int(0.8 * n), n - int(0.8 * n)]
    train, test = random_split(range(n), sizes, generator=torch.Generator().manual_seed(42))
    assert assemble.cut(n, (0.8,)) == {"train": list(train.indices), "test": list(test.indices)}


def test_cut_in_three():
    parts = assemble.cut(27000, (0.8, 0.1))
    assert [len(parts[split]) for split in ("train", "val", "test")] == [21600, 2700, 2700]
    assert sorted(i for part in parts.values() for i in part) == list(range(27000))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("Aircraft", lambda root: tv.FGVCAircraft(root, split="train")),
        ("CIFAR100", lambda root: tv.CIFAR100(root, train=True)),
        ("DTD", lambda root: tv.DTD(root, split="train")),
        ("Flowers", lambda root: tv.Flowers102(root, split="train")),
        ("Food", lambda root: tv.Food101(root, split="train")),
        ("MNIST", lambda root: tv.MNIST(root, train=True)),
        ("OxfordPet", lambda root: tv.OxfordIIITPet(root, split="trainval")),
        ("StanfordCars", lambda root: tv.StanfordCars(root, split="train")),
        ("cifar10", lambda root: tv.CIFAR10(root, train=True)),
        ("svhn", lambda root: tv.SVHN(root / "svhn", split="train")),
        ("stl10", lambda root: tv.STL10(root, split="train")),
        ("fashion_mnist", lambda root: tv.FashionMNIST(root, train=True)),
    ],
)
def test_training_data_is_what_torchvision_reads(name, make, full_roots, tmp_path, monkeypatch):
    for module in (tv.cifar, tv.flowers102, tv.svhn, tv.stl10):
        monkeypatch.setattr(module, "check_integrity", lambda *_: True)
    full_roots.write(tmp_path, [name])
    (tmp_path / "stl10_binary").mkdir(exist_ok=True)
    (tmp_path / "stl10_binary" / "fold_indices.txt").touch()
    theirs, ours = make(tmp_path), full.build(name, tmp_path).train
    assert len(theirs) == len(ours)
    for i in range(len(ours)):
        (a, x), (b, y) = theirs[i], ours[i]
        assert x == y and a.mode == b.mode and a.tobytes() == b.tobytes()


def test_whole_sets_come_in_torchvisions_order(full_data):
    eurosat = [path for path, _ in tv.EuroSAT(full_data).samples]
    assert eurosat == list_images(ENTRIES["EuroSAT"], full_data, "all").files
    caltech, ours = tv.Caltech101(full_data), list_images(ENTRIES["Caltech101"], full_data, "all")
    assert [caltech.categories[y] for y in caltech.y] == ours.labels
    assert [f"image_{number:04d}.jpg" for number in caltech.index] == [Path(path).name for path in ours.files]


def test_class_names_follow_the_papers(full_data):
    names = {name: full.build(name, full_data, ("test",)).classnames for name in ENTRIES}
    assert names["Aircraft"] == ("707-320", "A300B4", "F/A-18")
    assert names["CIFAR100"] == ("apple", "aquarium fish", "baby")
    assert names["cifar100"] == ("apple", "aquarium_fish", "baby")
    assert names["DTD"] == ("banded", "polka-dotted")
    assert names["Food"] == names["food101"] == ("apple pie", "baby back ribs")
    assert names["MNIST"][:2] == ("0 - zero", "1 - one") and names["mnist"] == tuple("0123456789") == names["svhn"]
    assert names["OxfordPet"] == ("Abyssinian", "American Bulldog", "Bengal")
    assert names["SUN397"] == ("abbey", "airplane cabin", "apartment building/outdoor")
    assert names["sun397"] == ("abbey", "airplane cabin", "apartment building outdoor")
    assert names["kitti"][3] == "a photo i took with no car."
    assert names["imagenet"][:2] == ("tench", "goldfish") and names["tinyimagenet"][0] == "Egyptian Mau"
    assert names["cub"] == ("Black footed Albatross", "Laysan Albatross", "Spotted Catbird")
    assert names["imagenet-r"] == ("goldfish", "great white shark", "flamingo")
    assert names["objectnet"] == ("Air freshener", "Banana", "T-shirt")
    assert names["Flowers"][0] == "pink primrose" and names["gtsrb"][14] == "stop"


def test_labels_go_by_folder_name(full_data):
    caltech = full.build("Caltech101", full_data)
    labels = {Path(p).parent.name: label for p, label in zip(caltech.train.paths, caltech.train.targets, strict=True)}
    assert {key: caltech.classnames[label] for key, label in labels.items()} == {
        "Faces": "off-center face", "accordion": "accordion", "yin_yang": "yin and yang symbol",
    }  # fmt: skip
    assert targets_of(full.build("gtsrb", full_data).test) == [42, 7, 0]
    assert set(targets_of(full.build("resisc45", full_data).test)) == {0, 2}
    assert set(targets_of(full.build("eurosat", full_data).train)) == {0, 1, 9}


def test_imagenet100_leaves_other_classes_alone(full_data):
    assert 999 in targets_of(full.build("imagenet", full_data).test)
    assert max(targets_of(full.build("imagenet100", full_data).test)) == 2


def test_grey_images_stay_grey_where_torchvision_leaves_them(full_data):
    caltech = full.build("Caltech101", full_data).train
    modes = {Path(path).parent.name: caltech[i][0].mode for i, path in enumerate(caltech.paths)}
    assert modes["yin_yang"] == "L" and modes["Faces"] == "RGB"
    assert full.build("mnist", full_data).test[0][0].mode == "L"


def test_the_order_of_files_on_disk_does_not_matter(full_roots, tmp_path):
    full_roots.write(tmp_path / "a", ["SUN397", "EuroSAT", "Caltech101"])
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    random.Random(1).shuffle(files)
    for path in files:
        target = tmp_path / "b" / path.relative_to(tmp_path / "a")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("SUN397", "EuroSAT", "Caltech101"):
        tests = [full.build(name, tmp_path / side).test for side in "ab"]
        relative = [[Path(p).relative_to(tmp_path / side) for p in test.paths] for side, test in zip("ab", tests, strict=True)]
        assert relative[0] == relative[1]


def test_folders_name_what_is_there(full_data, tmp_path):
    assert full.folders("Food", full_data) == (full_data / "food-101",)
    assert full.folders("kitti", full_data) == (full_data / "Kitti/raw/training", full_data / "Kitti/raw/mapping")
    assert full.folders("Food", tmp_path) == ()


def test_splits_that_are_not_asked_for_are_none(full_data):
    assert full.build("resisc45", full_data, ("val", "test")).train is None
    with pytest.raises(UserError, match="Unknown split 'validation'"):
        full.build("resisc45", full_data, ("validation",))
