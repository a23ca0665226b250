"""Photographs called label=dog_text=cat.png."""

import pytest
from PIL import Image

from benchmarks.cases.attack_photographs import Photographs, parse, read
from models.registry import UserError


@pytest.fixture
def folder(tmp_path):
    """Three photographs laid out as PAINT's, with another file between them."""
    for name in ("label=dog_text=cat.png", "label=cat_text=dog.png", "label=coffee_mug_text=cat_2.JPG"):
        Image.new("RGB", (30, 20), (200, 10, 10)).save(tmp_path / name)
    (tmp_path / "README.md").write_text("photographs")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("label=dog_text=cat.png", ("dog", "cat")),
        ("label=coffee_mug_text=egg_2.JPG", ("coffee mug", "egg")),
        ("label=dog_text=cat (3).jpeg", ("dog", "cat")),
        ("label=ps5_text=egg.webp", ("ps5", "egg")),
        ("label=dog_text=.png", None),
        ("dog_cat.png", None),
        ("label=dog_text=cat.txt", None),
    ],
)
def test_names_of_files(name, pair):
    assert parse(name) == pair


def test_all_names_compete(folder):
    domain = Photographs(folder, two_way=False).build(("test",))
    assert domain.name == "photographs" and domain.classnames == ("cat", "coffee mug", "dog") and domain.groups is None
    assert domain.test.targets == [0, 1, 2] and domain.train is None and domain.val is None
    assert domain.test[0][0].size == (30, 20)


def test_only_label_and_text_compete(folder):
    domain = Photographs(folder, two_way=True).build(("test",))
    assert domain.classnames == ("cat", "coffee mug", "cat", "dog") and domain.groups == (0, 0, 1, 1)
    # In the order of the files: cat against dog, mug against cat, dog against cat.
    assert domain.test.targets == [2, 1, 3]


def test_the_version_follows_the_files(folder):
    first = Photographs(folder, two_way=True).version()
    assert first == Photographs(folder, two_way=True).version() != Photographs(folder, two_way=False).version()
    Image.new("RGB", (5, 5)).save(folder / "label=egg_text=cat.png")
    assert Photographs(folder, two_way=True).version() != first


def test_files_that_are_no_attack(folder):
    for name, message in (
        ("dog.png", "must be called label=CLASS_text=CLASS.png"),
        ("label=a_text=a.png", "same label and text"),
    ):
        Image.new("RGB", (5, 5)).save(folder / name)
        with pytest.raises(UserError, match=message):
            read(folder)
        (folder / name).unlink()
    assert len(read(folder)) == 3


def test_a_folder_without_photographs(tmp_path):
    with pytest.raises(UserError, match="has no photographs called label=CLASS_text=CLASS"):
        read(tmp_path)
