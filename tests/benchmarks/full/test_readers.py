"""Readers on partial and damaged data: some runs continue with a warning, others end in a one-sentence error."""

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import full
from benchmarks.data.dataset import targets_of
from benchmarks.full import kitti, listing
from benchmarks.full import read_pickles as pickles
from benchmarks.full.dataset_table import ENTRIES, Hub
from models.registry import UserError


@pytest.mark.parametrize("name", ENTRIES)
def test_missing_data_says_what_is_expected_and_how_to_get_it(name, tmp_path):
    row = ENTRIES[name]
    with pytest.raises(UserError, match=f"The dataset {name} is missing") as caught:
        full.build(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / row.folder[0]) in message and row.get in message
    assert isinstance(caught.value, full.Missing)
    assert ("data fetch" in message) == (name not in ("imagenet100", "objectnet"))
    if name == "imagenet":
        assert "data fetch imagenet --data-root" in message and "--from hub` (requires a Hugging Face login" in message


def test_unknown_dataset(tmp_path):
    with pytest.raises(UserError, match="Did you mean Flowers"):
        full.build("Flower", tmp_path)


DAMAGED = [
    ("Aircraft", "fgvc-aircraft-2013b/data/images_variant_test.txt"),
    ("CIFAR100", "cifar-100-python/test"),
    ("CIFAR100", "cifar-100-python/meta"),
    ("DTD", "dtd/dtd/labels/test1.txt"),
    ("Flowers", "flowers-102/imagelabels.mat"),
    ("Flowers", "flowers-102/setid.mat"),
    ("Food", "food-101/meta/test.json"),
    ("MNIST", "MNIST/raw/t10k-images-idx3-ubyte"),
    ("MNIST", "MNIST/raw/t10k-labels-idx1-ubyte"),
    ("OxfordPet", "oxford-iiit-pet/annotations/test.txt"),
    ("StanfordCars", "stanford_cars/cars_test_annos_withlabels.mat"),
    ("gtsrb", "gtsrb/GT-final_test.csv"),
    ("kitti", "Kitti/raw/mapping/train_rand.txt"),
    ("svhn", "svhn/test_32x32.mat"),
    ("stl10", "stl10_binary/test_X.bin"),
    ("cifar10", "cifar-10-batches-py/test_batch"),
    ("cub", "CUB_200_2011/image_class_labels.txt"),
    ("cub", "CUB_200_2011/images.txt"),
    ("imagenet-r", "imagenet-r/imagenet-r_test.yaml"),
    ("objectnet", "objectnet-1.0/mappings/folder_to_objectnet_label.json"),
]


@pytest.mark.parametrize(("name", "file"), DAMAGED)
def test_a_damaged_annotation_is_named(name, file, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    path = tmp_path / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 3])
    with pytest.raises(UserError, match=path.name):
        full.build(name, tmp_path, ("test",))


@pytest.mark.parametrize(("name", "file"), DAMAGED)
def test_a_missing_annotation_is_named(name, file, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=rf"The dataset {name} is missing or incomplete: .*{Path(file).name}"):
        full.build(name, tmp_path, ("test",))


FOLDERS = [
    ("Aircraft", "fgvc-aircraft-2013b/data/images"),
    ("DTD", "dtd/dtd/images"),
    ("Flowers", "flowers-102/jpg"),
    ("Food", "food-101/images"),
    ("Food", "food-101/meta"),
    ("OxfordPet", "oxford-iiit-pet/images"),
    ("OxfordPet", "oxford-iiit-pet/annotations"),
    ("StanfordCars", "stanford_cars/cars_test"),
    ("gtsrb", "gtsrb/GTSRB/Final_Test"),
    ("imagenet", "imagenet/val"),
]


@pytest.mark.parametrize(("name", "folder"), FOLDERS)
def test_a_missing_folder_is_missing_data_and_a_hub_copy_takes_its_place(name, folder, full_roots, tmp_path, monkeypatch):
    full_roots.write(tmp_path, [name])
    shutil.rmtree(tmp_path / folder)
    with pytest.raises(full.Missing, match=f"The dataset {name} is missing or incomplete: ") as caught:
        full.build(name, tmp_path, ("test",))
    assert "damaged" not in str(caught.value)
    row = ENTRIES[name]
    names = list(row.fixed) or ["one", "two"]
    monkeypatch.setitem(ENTRIES, name, replace(row, hub=Hub("a/copy")))
    full_roots.write_hub(tmp_path / "hub" / name, {"train": 2, "test": 2}, names, "image", "label")
    domain = full.build(name, tmp_path, ("test",))
    assert len(domain.test) == 2 and domain.test.where == "the hub copy a/copy"


def test_damaged_data_is_not_missing_data(full_roots, tmp_path):
    full_roots.write(tmp_path, ["Food"])
    (tmp_path / "food-101/meta/test.json").write_text("{")
    with pytest.raises(UserError, match="damaged or incomplete") as caught:
        full.build("Food", tmp_path)
    assert not isinstance(caught.value, full.Missing)


def test_a_line_without_a_label(full_roots, tmp_path):
    full_roots.write(tmp_path, ["tinyimagenet"])
    (tmp_path / "tiny-imagenet-200/val/val_annotations.txt").write_text("val_0.JPEG\n")
    with pytest.raises(UserError, match=r"Cannot read .*val_annotations\.txt"):
        full.build("tinyimagenet", tmp_path)


@pytest.mark.parametrize(
    "file", ["tiny-imagenet-200/val/val_annotations.txt", "resisc45/resisc45-test.txt", "SUN397/Testing_01.txt"]
)
def test_a_missing_split_list_is_named(file, full_roots, tmp_path):
    name = {"tiny-imagenet-200": "tinyimagenet"}.get(base := file.split("/")[0], base.lower())
    full_roots.write(tmp_path, [name])
    (tmp_path / file).unlink()
    with pytest.raises(UserError, match=Path(file).name):
        full.build(name, tmp_path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_a_pickle_that_runs_code_is_refused(full_roots, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    full_roots.write(tmp_path, ["cifar10"])
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({"data": Evil(), "labels": []}))
    with pytest.raises(UserError, match=r"test_batch.*mkdir is not allowed"):
        full.build("cifar10", tmp_path, ("test",))
    assert not (tmp_path / "harm").exists()


def test_pickles_of_arrays_and_plain_types(tmp_path):
    path = tmp_path / "batch"
    content = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "name": "x", "n": 1.5}
    path.write_bytes(pickle.dumps(content, protocol=4))
    loaded = pickles.load(path)
    assert (loaded.pop("data") == content.pop("data")).all() and loaded == content
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match="holds a list"):
        pickles.load(path)


def test_a_pickle_written_by_python_2(tmp_path):
    """CIFAR's files are pickles of protocol 2 with byte strings and numpy's old module names."""
    path = tmp_path / "old"
    path.write_bytes(
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x01K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x03\x01\xc8\xfftbU\x06labelsq\x08]q\x09K\x07au."
    )
    loaded = pickles.load(path)
    assert loaded["data"].tolist() == [[1, 200, 255]] and loaded["data"].dtype == np.uint8 and loaded["labels"] == [7]


def test_labels_outside_the_class_list(full_roots, tmp_path):
    full_roots.write(tmp_path, ["MNIST", "Flowers", "stl10"])
    full_roots.idx(tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte", np.arange(10) + 2)
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte has labels outside its 10 classes: 10, 11"):
        full.build("MNIST", tmp_path)
    from scipy.io import savemat

    savemat(tmp_path / "flowers-102/imagelabels.mat", {"labels": np.full((1, 9), 103)})
    with pytest.raises(UserError, match=r"imagelabels\.mat has labels outside its 102 classes: 102"):
        full.build("Flowers", tmp_path)
    (tmp_path / "stl10_binary/test_y.bin").write_bytes(bytes([0, 1, 2]))
    with pytest.raises(UserError, match="labels outside its 3 classes: -1"):
        full.build("stl10", tmp_path)


def test_as_many_labels_as_images(full_roots, tmp_path):
    full_roots.write(tmp_path, ["MNIST"])
    full_roots.idx(tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte", np.arange(9))
    with pytest.raises(UserError, match="has 10 images, but there are 9 labels"):
        full.build("MNIST", tmp_path)


def test_unknown_class_folders_keep_their_name(full_roots, tmp_path):
    full_roots.write(tmp_path, ["EuroSAT"])
    for number in range(10):
        full_roots.save(tmp_path / "eurosat/2750/Parking_Lot" / f"{number}.jpg", 5, number)
    domain = full.build("EuroSAT", tmp_path)
    assert domain.classnames[10] == "Parking Lot" and max(targets_of(domain.train)) == 10
    sentences = full.differences(domain)
    assert "EuroSAT has 11 classes here; the paper has 10." in sentences
    assert "EuroSAT has classes that are not in the paper: Parking Lot." in sentences


def test_images_that_a_list_names_but_are_not_there(full_roots, tmp_path):
    full_roots.write(tmp_path, ["Food", "kitti"])
    (tmp_path / "food-101/images/apple_pie/1000003.jpg").unlink()
    domain = full.build("Food", tmp_path)
    assert len(domain.test) == 3
    row = replace(ENTRIES["Food"], classes=2, train=6, test=4)
    assert full.differences(domain, row) == ["Food has 3 test images here; the paper has 4."]


def test_a_split_without_images(full_roots, tmp_path):
    full_roots.write(tmp_path, ["Food", "imagenet"])
    for path in (tmp_path / "food-101/images").rglob("100000[34].jpg"):
        path.unlink()
    with pytest.raises(UserError, match="Food has no images in its test split"):
        full.build("Food", tmp_path)
    for path in (tmp_path / "imagenet/train").rglob("*.JPEG"):
        path.unlink()
    with pytest.raises(UserError, match="imagenet has no images in its train split"):
        full.build("imagenet", tmp_path)
    assert full.build("imagenet", tmp_path, ("test",)).train is None


def test_empty_and_missing_trees(tmp_path):
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="train has no class folders"):
        full.build("imagenet", tmp_path, ("train",))
    with pytest.raises(UserError, match=r"imagenet/val is missing\. .*image-net\.org"):
        full.build("imagenet", tmp_path, ("test",))


def test_val_in_folder_is_taken_too(full_roots, tmp_path):
    full_roots.write(tmp_path, ["imagenet"])
    (tmp_path / "imagenet/val").rename(tmp_path / "imagenet/val_in_folder")
    assert len(full.build("imagenet", tmp_path, ("test",)).test) == 4


def test_paper_sized_data_has_no_differences(full_roots, tmp_path):
    made = full_roots.write(tmp_path, ["OxfordPet", "MNIST"])
    for name, what in made.items():
        row = replace(ENTRIES[name], classes=what.classes, **what.sizes)
        assert full.differences(full.build(name, tmp_path), row) == []


def test_classes_without_images_are_said(full_roots, tmp_path):
    full_roots.write(tmp_path, ["gtsrb"])
    sentences = full.differences(full.build("gtsrb", tmp_path, ("test",)))
    assert sentences[0] == "gtsrb has 3 test images here; the paper has 12,630."
    assert sentences[1].startswith("40 of the 43 classes of gtsrb have no test images: red and white circle 30 kph")
    assert len(sentences) == 2


def test_splits_that_name_different_classes_share_one_order(full_roots, tmp_path):
    full_roots.write(tmp_path, ["DTD"])
    lists = tmp_path / "dtd/dtd/labels"
    rows = (lists / "test1.txt").read_text().splitlines()
    (lists / "test1.txt").write_text("\n".join(row for row in rows if row.startswith("polka")) + "\n")
    domain = full.build("DTD", tmp_path)
    assert domain.classnames == ("banded", "polka-dotted") and set(targets_of(domain.test)) == {1}
    assert listing.union([["b", "c"], ["a", "c"]]) == ("a", "b", "c")
    assert listing.union([["b", "a"], ["a"]]) == ("b", "a")


def test_one_pet_under_two_numbers(full_roots, tmp_path):
    full_roots.write(tmp_path, ["OxfordPet"])
    with (tmp_path / "oxford-iiit-pet/annotations/test.txt").open("a") as file:
        file.write("Bengal_10 4 1 1\nBengal_11 2 1 1\n")
    with pytest.raises(UserError, match=r"test\.txt gives one class number to several breeds"):
        full.build("OxfordPet", tmp_path, ("test",))


def test_partition_lists_may_lie_in_their_own_folder(full_roots, tmp_path):
    full_roots.write(tmp_path, ["sun397"])
    (tmp_path / "SUN397/Partitions").mkdir()
    for name in ("Training_01.txt", "Testing_01.txt"):
        (tmp_path / "SUN397" / name).rename(tmp_path / "SUN397/Partitions" / name)
    assert len(full.build("sun397", tmp_path).test) == 6


def test_classes_of_tinyimagenet_are_in_its_own_order(full_roots, tmp_path):
    full_roots.write(tmp_path, ["tinyimagenet"])
    train = full.build("tinyimagenet", tmp_path).train
    assert {path.split("/")[-3]: label for path, label in zip(train.paths, train.targets, strict=True)} == {
        "n02124075": 0,
        "n04067472": 1,
        "n04540053": 2,
    }


def test_a_scene_that_the_class_list_lacks(full_roots, tmp_path):
    full_roots.write(tmp_path, ["sun397"])
    (tmp_path / "SUN397/Testing_01.txt").write_text("/z/zoo/sun_a.jpg\n")
    with pytest.raises(UserError, match=r"Testing_01\.txt.*classes that are not in the class list: zoo"):
        full.build("sun397", tmp_path)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("Car", 7.9), ("Van", 50.0)], 0),
        ([("Truck", 8.0)], 0),
        ([("Van", 8.1)], 1),
        ([("Car", 20.5)], 2),
        ([("Pedestrian", 3.0), ("Cyclist", 2.0)], 3),
        ([], 3),
    ],
)
def test_distance_class(rows, expected):
    lines = [f"{kind} 0 0 0 1 1 2 2 1 1 1 0.5 1.5 {z} 0.1" for kind, z in rows]
    assert kitti.distance_class("\n".join(lines)) == expected


def test_kittis_videos_stay_together_and_follow_the_seed():
    videos = [f"v{i // 4:02d}" for i in range(120)]
    splits = kitti.by_video(videos)
    assert sorted(i for images in splits.values() for i in images) == list(range(120))
    by_split = {split: {videos[i] for i in images} for split, images in splits.items()}
    assert len(by_split["test"]) == len(by_split["val"]) == 3
    assert not by_split["test"] & by_split["val"] and not by_split["train"] & (by_split["test"] | by_split["val"])
    state = np.random.get_state()
    try:
        np.random.seed(123)
        names = sorted(set(videos))
        test = set(np.random.choice(names, 3, replace=False))
        val = set(np.random.choice(sorted(set(names) - test), 3, replace=False))
    finally:
        np.random.set_state(state)
    assert (by_split["test"], by_split["val"]) == (test, val)


def test_kittis_labels_follow_the_images(full_roots, tmp_path):
    full_roots.write(tmp_path, ["kitti"])
    domain = full.build("kitti", tmp_path)
    for dataset in (domain.train, domain.val, domain.test):
        assert dataset.targets == [int(Path(path).stem) % 4 for path in dataset.paths]
    (tmp_path / "Kitti/raw/training/label_2" / f"{Path(domain.test.paths[0]).stem}.txt").write_text("Car 1 2\n")
    with pytest.raises(UserError, match=r"Cannot read .*label_2"):
        full.build("kitti", tmp_path, ("test",))


def test_clevr_has_three_to_ten_objects(full_roots, tmp_path):
    full_roots.write(tmp_path, ["clevr"])
    scenes = tmp_path / "clevr" / "CLEVR_v1.0" / "scenes" / "CLEVR_val_scenes.json"
    scenes.write_text('{"scenes": [{"image_filename": "CLEVR_val_000000.png", "objects": [{}, {}]}]}')
    with pytest.raises(UserError, match=r"CLEVR_val_scenes\.json.*classes that are not in the class list: 2"):
        full.build("clevr", tmp_path, ("test",))
    scenes.unlink()
    with pytest.raises(UserError, match=r"clevr is missing or incomplete: .*CLEVR_val_scenes\.json is missing"):
        full.build("clevr", tmp_path, ("test",))
