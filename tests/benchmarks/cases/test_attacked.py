"""Datasets with wrong class names over their images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.cases import attacked as module
from benchmarks.cases.attacked import Attacked, attacked, drawn
from benchmarks.cases.written_words import HELDOUT_TYPEFACES, TYPEFACES
from benchmarks.data.dataset import TensorImages
from benchmarks.data.images import ArrayImages, fingerprint_of

NAMES = ("cat", "dog", "bird")


def plain(count=6, value=90):
    return TensorImages(torch.full((count, 3, 48, 48), value, dtype=torch.uint8), [i % 3 for i in range(count)])


def test_labels_stay_and_words_are_wrong():
    data = Attacked(plain(30), NAMES, TYPEFACES, ("seed",), copies=2)
    assert len(data) == 60 and data.targets == [i % 3 for i in range(60)]
    words = [data.word(i) for i in range(60)]
    assert all(word != label for word, label in zip(words, data.targets, strict=True)) and set(words) == {0, 1, 2}
    assert data[40][1] == 40 % 3


def test_copies_have_other_words_or_looks_and_reading_twice_gives_the_same_picture():
    data = Attacked(plain(2), NAMES, TYPEFACES, ("seed",), copies=3)
    pictures = [np.asarray(data[i][0]).tobytes() for i in (0, 2, 4)]
    assert len(set(pictures)) == 3 and np.asarray(data[0][0]).tobytes() == pictures[0]
    assert all(picture != np.full((48, 48, 3), 90, dtype=np.uint8).tobytes() for picture in pictures)


def test_the_word_is_the_one_that_is_written(monkeypatch):
    written = []
    monkeypatch.setattr(module, "write", lambda picture, text, face, rng: written.append(text) or picture)
    data = Attacked(plain(6), NAMES, TYPEFACES, ("seed",))
    [data[i] for i in range(6)]
    assert written == [NAMES[data.word(i)] for i in range(6)]


def test_tensors_and_pil_images_of_any_size_get_words():
    images = ArrayImages(np.full((2, 100, 60), 90, dtype=np.uint8), [0, 1], "grey")
    picture, label = Attacked(images, NAMES, TYPEFACES, ("seed",))[1]
    assert isinstance(picture, Image.Image) and picture.size == (60, 100) and picture.mode == "RGB" and label == 1
    assert (np.asarray(picture) != 90).any()


def test_the_fingerprint_follows_everything_that_is_seen():
    images = ArrayImages(np.zeros((2, 8, 8), dtype=np.uint8), [0, 1], "origin")
    first = Attacked(images, NAMES, TYPEFACES, ("a",))
    others = [
        Attacked(images, NAMES, HELDOUT_TYPEFACES, ("a",)),
        Attacked(images, NAMES, TYPEFACES, ("b",)),
        Attacked(images, NAMES[::-1], TYPEFACES, ("a",)),
        Attacked(ArrayImages(np.zeros((2, 8, 8), dtype=np.uint8), [0, 1], "other"), NAMES, TYPEFACES, ("a",)),
    ]
    assert len({fingerprint_of(data) for data in [first, *others]}) == 5
    assert fingerprint_of(Attacked(images, NAMES, TYPEFACES, ("a",))) == fingerprint_of(first)
    assert fingerprint_of(Attacked([(Image.new("RGB", (8, 8)), 0)], NAMES, TYPEFACES, ("a",))) is None


def test_one_class_has_no_wrong_name():
    with pytest.raises(ValueError, match="at least two classes"):
        Attacked(plain(), ("cat",), TYPEFACES, ("seed",))


def test_a_domain_has_words_only_on_the_wanted_splits(toy_domain):
    domain = toy_domain("toy", 3)
    test = attacked(domain, ["test"], heldout_typefaces=True)
    assert test.train is None and test.val is None and test.classnames == domain.classnames
    assert test.test.typefaces == HELDOUT_TYPEFACES and test.test.targets == domain.test.targets
    both = attacked(domain, ["train", "test"], heldout_typefaces=False)
    assert both.train.typefaces == TYPEFACES and both.train.seed != both.test.seed


def test_drawn_pictures_are_the_same_from_the_cache(toy_domain, tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path))
    data = Attacked(plain(), NAMES, TYPEFACES, ("seed",))
    domain = replace(toy_domain("toy", 3), train=None, val=None, test=data)
    first, again = drawn(domain, "toy"), drawn(domain, "toy")
    assert torch.equal(first.test.images, again.test.images) and first.test.targets == data.targets and first.train is None
    assert np.array_equal(first.test.images[4].permute(1, 2, 0).numpy(), np.asarray(data[4][0]))
