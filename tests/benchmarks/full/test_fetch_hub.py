"""Fetching copies from a hub: incomplete and unexpected copies are never published."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.full import fetch as fetch_module
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "downloads.py"))
EUROSAT, get = FAKES["EUROSAT"], FAKES["get"]


@pytest.fixture
def hub(monkeypatch, full_roots):
    """A function that makes a hub with one dataset and returns the list of its requests."""
    import datasets

    monkeypatch.setattr(fetch_module, "offline", lambda: False)
    asked = []

    def hold(splits, image="image", label="label", classes="0123456789"):
        features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(classes))})

        def rows(count):
            labels = [number % len(classes) for number in range(count)]
            return {image: [full_roots.picture(n, i) for i, n in enumerate(labels)], label: labels}

        made = {name: datasets.Dataset.from_dict(rows(count), features=features) for name, count in splits.items()}

        def load(path, config, cache_dir, **_):
            asked.append((path, config, cache_dir))
            return datasets.DatasetDict(made)

        monkeypatch.setattr(datasets, "load_dataset", load)
        return asked

    return hold


def test_hub_copy(hub, tmp_path, monkeypatch):
    from benchmarks import full

    asked = hub({"train": 20, "test": 10, "extra": 4})
    monkeypatch.setitem(ENTRIES, "svhn", replace(ENTRIES["svhn"], train=20, test=10))
    state, lines = get("svhn", tmp_path, "hub")
    assert (state.kind, state.counts) == ("hub copy", {"train": 20, "test": 10})
    assert asked == [("ufldl-stanford/svhn", "cropped_digits", str(tmp_path / ".partial/hub-svhn/cache"))]
    assert lines == ["loading ufldl-stanford/svhn (cropped_digits) from the Hugging Face hub ..."]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["hub", "svhn", "test", "train"]
    domain = full.build("svhn", tmp_path)
    assert (len(domain.train), len(domain.test)) == (20, 10) and domain.train[0][0].size == (16, 16)
    get("svhn", tmp_path, "hub")
    assert len(asked) == 1


def test_an_incomplete_hub_copy_is_replaced(hub, full_roots, tmp_path, monkeypatch):
    hub({"train": 20, "test": 10})
    monkeypatch.setitem(ENTRIES, "StanfordCars", replace(ENTRIES["StanfordCars"], train=20, test=10))
    full_roots.write_hub(tmp_path / "hub/StanfordCars", {"train": 2}, ["a", "b"], "image", "label")
    assert get("StanfordCars", tmp_path, None)[0].kind == "hub copy"
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_a_hub_copy_does_not_stop_the_authors_files(hub, offered, full_roots):
    root = offered(*EUROSAT)
    full_roots.write_hub(root / "hub/EuroSAT", {"train": 30}, ["a", "b"], "image", "label")
    assert get("EuroSAT", root, None)[0].kind == "hub copy"
    assert get("EuroSAT", root, "torchvision")[0].kind == "complete"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"splits": {"train": 2}}, r"has no split test \(test\); it has train"),
        ({"splits": {"train": 2, "test": 2}, "image": "img"}, "has no column 'image' in train: it has img, label"),
    ],
)
def test_another_hub_copy_than_expected(held, words, hub, tmp_path):
    hub(**held)
    with pytest.raises(UserError, match=words):
        get("StanfordCars", tmp_path / "data", None)
    assert not (tmp_path / "data").exists()


def test_a_hub_copy_without_class_names_is_not_kept(hub, tmp_path, monkeypatch):
    """For a dataset whose class names the table does not have: its labels would be numbers."""
    import datasets

    hub({"train": 2, "test": 2})
    load = datasets.load_dataset

    def nameless(*arguments, **options):
        return load(*arguments, **options).cast_column("label", datasets.Value("int64"))

    monkeypatch.setattr(datasets, "load_dataset", nameless)
    with pytest.raises(UserError, match="has no class names: its column 'label'"):
        get("StanfordCars", tmp_path / "data", None)
    assert not (tmp_path / "data").exists()
    assert get("svhn", tmp_path / "data", "hub")[0].is_hub_copy, "whose digits are known"


def test_a_hub_that_fails_says_how_to_get_it_by_hand(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(fetch_module, "offline", lambda: False)
    errors = {
        datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset."): "requires consent and a login",
        ConnectionError("no route\nto host"): "cannot be reached: no route",
        RuntimeError("server\nsays no"): "cannot be loaded: server",
    }
    for error, words in errors.items():

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(UserError, match=rf"StanfordCars could not be fetched: .*{words}.*To get it by hand: .*vision#7545"):
            get("StanfordCars", tmp_path / "data", None)
        assert not (tmp_path / "data").exists()
