"""Hugging Face datasets as domains: folders written by `datasets`, and names without a network."""

import io

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from torch.utils.data import Subset

from benchmarks.data.dataset import targets_of
from benchmarks.data.images import fingerprint_of
from benchmarks.own import check_images, data_version, domain, from_hub, kind_of
from benchmarks.own.hub_load import load_name
from models.registry import UserError

pytestmark = pytest.mark.usefixtures("hub_cache")
NAMES = ["big_dog", "cat"]


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (3, 3), value).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def rows(labels, names=NAMES, first=0, column="label", **columns):
    """Return a dataset whose image i is filled with first + i."""
    data = {"image": [png(first + i) for i in range(len(labels))], column: list(labels), **columns}
    dataset = datasets.Dataset.from_dict(data).cast_column("image", datasets.Image())
    return dataset if names is None else dataset.cast_column(column, datasets.ClassLabel(names=names))


def values(dataset):
    """Return the images of a split by the values that fill them."""
    return [dataset[i][0].getpixel((0, 0))[0] for i in range(len(dataset))]


@pytest.fixture
def save(tmp_path):
    def write(name="pets", **splits):
        datasets.DatasetDict(splits).save_to_disk(tmp_path / name)
        return tmp_path / name

    return write


def test_saved_splits(save):
    folder = save(train=rows([0, 1, 1], first=1), validation=rows([1], first=50), test=rows([0, 1], first=90), extra=rows([0]))
    assert kind_of(folder) == "hub-folder"
    loaded = domain(folder, templates=["the {}"])
    assert loaded.name == "pets" and loaded.classnames == ("big dog", "cat") and loaded.templates == ("the {}",)
    assert [values(split) for split in (loaded.train, loaded.val, loaded.test)] == [[1, 2, 3], [50], [90, 91]]
    assert [split.targets for split in (loaded.train, loaded.val, loaded.test)] == [[0, 1, 1], [1], [0, 1]]
    assert loaded.train[0][0].mode == "RGB" and loaded.prompts() == ["the big dog", "the cat"]
    assert "columns image and label" in loaded.source and loaded.notes == (f"{folder}: the splits extra are not read",)
    assert loaded.split_sources == {"train": "the split train", "val": "the split validation", "test": "the split test"}
    assert from_hub(folder, classnames=["hound", "kitten"], name="x").classnames == ("hound", "kitten")


def test_labels_are_read_without_decoding(save, monkeypatch):
    folder = save(train=rows([0, 1]), test=rows([0, 1]))
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("decoded"))
    assert targets_of(from_hub(folder).train) == [0, 1]


def test_fingerprints_are_stable_and_distinguish_images(save):
    folder = save("one", train=rows([0, 1]), test=rows([0, 1], first=9))
    first, again = from_hub(folder), from_hub(folder)
    assert fingerprint_of(first.train) == fingerprint_of(again.train) != fingerprint_of(first.test)
    assert fingerprint_of(Subset(first.train, [0])) != fingerprint_of(Subset(first.train, [1]))
    version = data_version(folder)
    other = save("two", train=rows([0, 1, 1]), test=rows([0, 1]))
    assert version == data_version(folder) != data_version(other)


def test_missing_splits(save, tmp_path):
    late = from_hub(save(train=rows([0, 1]), validation=rows([0, 1], first=50)))
    assert late.val is None and values(late.test) == [50, 51] and "tested on the validation split" in late.source
    assert from_hub(save("only", test=rows([0, 1]))).train is None
    rows([0] * 10 + [1] * 20).save_to_disk(tmp_path / "whole")
    for folder in (tmp_path / "whole", save("train_only", train=rows([0] * 10 + [1] * 20))):
        whole = from_hub(folder)
        parts = [values(split) for split in (whole.train, whole.val, whole.test)]
        assert sorted(v for split in parts for v in split) == list(range(30))
        counts = [[targets_of(split).count(c) for c in (0, 1)] for split in (whole.train, whole.val, whole.test)]
        assert counts == [[8, 16], [1, 2], [1, 2]] and "80/10/10" in whole.source
        assert values(from_hub(folder).test) == parts[2] != values(from_hub(folder, seed=1).test)


def test_parquet(tmp_path):
    folder = tmp_path / "birds"
    (folder / "data").mkdir(parents=True)
    rows([0, 1]).to_parquet(folder / "data" / "train-00000-of-00002.parquet")
    rows([1], first=2).to_parquet(folder / "data" / "train-00001-of-00002.parquet")
    rows([0, 1], first=5).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    assert kind_of(folder) == "hub-folder"
    loaded = domain("birds", tmp_path)
    assert loaded.name == "birds" and loaded.classnames == ("big dog", "cat")
    assert values(loaded.train) == [0, 1, 2] and values(loaded.test) == [5, 6] and loaded.train.targets == [0, 1, 1]
    rows([0, 1]).to_parquet(folder / "more.parquet")
    with pytest.raises(UserError, match=r"name of .*more\.parquet has no split"):
        from_hub(folder)


@pytest.mark.parametrize("image", [png, lambda value: png(value)["bytes"]])
def test_parquet_of_other_tools(tmp_path, image):
    table = pyarrow.table({"image": [image(i) for i in range(6)], "label": ["dog", "cat"] * 3})
    (tmp_path / "x").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "x" / "0000.parquet")
    loaded = from_hub(tmp_path / "x")
    assert loaded.classnames == ("cat", "dog") and sorted(values(loaded.train) + values(loaded.test)) == list(range(6))
    assert values(loaded.test) and all(
        t == 1 - v % 2 for v, t in zip(values(loaded.train), targets_of(loaded.train), strict=True)
    )


def test_labels_without_a_class_label(save):
    split = {"train": rows([0, 1, 1], None), "test": rows([1, 0], None)}
    assert from_hub(save(**split)).classnames == ("0", "1")
    assert from_hub(save("b", **split), classnames=["cat", "dog"]).test.targets == [1, 0]
    with pytest.raises(UserError, match=r"split train, row 2: the label 2 is outside 0\.\.1"):
        from_hub(save("c", train=rows([0, 1, 2], None), test=rows([0], None)), classnames=["cat", "dog"])
    words = {"train": rows(["n2", "n1"], None), "test": rows(["n1"], None)}
    assert from_hub(save("d", **words), classnames={"n1": "cat", "n2": "dog"}).train.targets == [1, 0]


@pytest.mark.slow
def test_choice_of_columns(save):
    fine = rows([0, 1], column="fine_label", coarse_label=[0, 0]).cast_column(
        "coarse_label", datasets.ClassLabel(names=["animal"])
    )
    folder = save(train=fine, test=fine)
    assert from_hub(folder).classnames == ("big dog", "cat")
    both = rows([0, 1], column="breed", kind=[1, 0]).cast_column("kind", datasets.ClassLabel(names=["x", "y"]))
    folder = save("both", train=both, test=both)
    with pytest.raises(
        UserError,
        match=r"label \(breed, kind\): choose one, for example `\S+/both:label=breed`",
    ):
        from_hub(folder)
    assert from_hub(folder, label_column="kind").train.targets == [1, 0]
    with pytest.raises(UserError, match="has no column 'no'; its columns are image, breed, kind"):
        from_hub(folder, label_column="no")
    with pytest.raises(UserError, match=r"'image' of .* holds Image. Labels must be numbers, truth values or strings"):
        from_hub(folder, label_column="image")
    assert domain(f"{folder}:label=kind").train.targets == [1, 0]
    with pytest.raises(UserError, match=r"'breed' of .* holds no images but ClassLabel"):
        from_hub(folder, label_column="kind", image_column="breed")
    twice = rows([0, 1]).rename_column("image", "left").add_column("right", [png(7)] * 2).cast_column("right", datasets.Image())
    folder = save("twice", train=twice, test=twice)
    with pytest.raises(UserError, match=r"several possible columns for the image \(left, right\)"):
        from_hub(folder)
    assert values(from_hub(folder, image_column="right").test) == [7, 7]
    bare = rows([0, 1]).remove_columns("label")
    with pytest.raises(UserError, match=r"has no label column \(image\)"):
        from_hub(save("bare", train=bare, test=bare))
    bare = rows([0, 1]).remove_columns("image")
    with pytest.raises(UserError, match=r"has no image column \(label\)"):
        from_hub(save("blind", train=bare, test=bare))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": rows([0, 1]), "test": rows([0, -1])}, "Row 1 of the split test of .* has no label"),
        ({"train": rows([0, 0]), "test": rows([0, 1])}, "class 'cat' of .* has images in test but none in train"),
        (
            {"train": rows([0, 1]), "test": rows([0, 1], ["a", "b"])},
            "split test of .* has the class 'a' in 'label', which",
        ),
        ({"train": rows([0, 1]), "test": rows([0, 1]).rename_column("image", "img")}, "split test of .* has no column 'image'"),
        ({"a": rows([0, 1]), "b": rows([0, 1])}, "no split called train, validation or test; its splits are: a, b"),
        ({"val": rows([0, 1]), "validation": rows([0, 1])}, "several val splits: val, validation"),
        ({"train": rows([0, 1], ["a_b", "a b"])}, "have the same class name, 'a b'"),
        ({"train": rows([0, 1, 0, 1])}, "No class has three images"),
    ],
)
def test_mistakes(save, splits, message):
    with pytest.raises(UserError, match=message):
        from_hub(save(**splits))


def test_a_damaged_image_is_named(save):
    bad = datasets.Dataset.from_dict({"image": [png(1), {"bytes": b"no", "path": None}, None], "label": [0, 1, 1]})
    bad = bad.cast_column("image", datasets.Image()).cast_column("label", datasets.ClassLabel(names=NAMES))
    loaded = from_hub(save(test=bad))
    with pytest.raises(UserError, match=r"Cannot read image 1 of the split test of .*pets: it is a text file"):
        loaded.test[1]
    assert [sentence[:19] for sentence in check_images(loaded)] == ["Cannot read image 1", "Cannot read image 2"]


def test_a_saved_format_does_not_matter(save):
    loaded = from_hub(save(test=rows([0, 1]).with_format("numpy")))
    assert values(loaded.test) == [0, 1]


def test_other_and_damaged_folders(save, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a Hugging Face dataset: it was not written by save_to_disk"):
        from_hub(tmp_path / "empty")
    folder = save(test=rows([0, 1]))
    (folder / "test" / "data-00000-of-00001.arrow").write_bytes(b"no")
    with pytest.raises(UserError, match=r"Cannot read the Hugging Face dataset in .*pets"):
        from_hub(folder)
    (tmp_path / "empty" / "test.parquet").write_bytes(b"no")
    with pytest.raises(UserError, match=r"Cannot read the Hugging Face dataset in .*empty"):
        from_hub(tmp_path / "empty")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("Couldn't reach"), "There is no folder me/pets.* not in the cache and cannot be downloaded.*offline"),
        (datasets.exceptions.DatasetNotFoundError("gone"), "neither a folder nor a Hugging Face dataset called me/pets: gone"),
        (ValueError("Config name is missing.\nPick"), "Cannot load the Hugging Face dataset me/pets: Config name is missing"),
        (RuntimeError("Dataset scripts are no longer supported"), "me/pets: Dataset scripts are no longer supported"),
    ],
)
def test_names_that_cannot_be_loaded(monkeypatch, tmp_path, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(UserError, match=message):
        domain("me/pets", tmp_path)


def test_a_name_with_a_configuration(monkeypatch, tmp_path):
    calls = []

    def load(name, config, **_):
        calls.append((name, config))
        return datasets.DatasetDict(train=rows([0, 1]), test=rows([1]))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert domain("me/pets:small", tmp_path).name == "pets" and domain("me/birds", tmp_path).name == "birds"
    assert calls == [("me/pets", "small"), ("me/birds", None)]


def test_a_dataset_that_asks_for_consent_and_a_lost_connection(hub, hub_cache, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    hub.put("dataset", "me/x", {"README.md": b"# x\n", "train.csv": b"image,label\na,b\n"})
    hub.answers.gated.add(("dataset", "me/x"))
    for token, words in (
        (hub.GUEST, "open only to users whom its owner has accepted: ask for access on http"),
        ("hf_x", "know your token"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(UserError, match=words):
            load_name("me/x")
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    hub.faults.every, hub.faults.kinds, hub.faults.only = 1, ("cut",), "resolve"
    with pytest.raises(UserError, match=r"connection was lost while me/x was loaded \(Server disconnected"):
        load_name("me/x")
    hub.faults.every = 0
    assert len(load_name("me/x")["train"]) == 1
