"""Splits without shared source pictures, and images that depend on task, picture and repetition only."""

import numpy as np
import pytest
from PIL import Image

from tools.study_data import division
from tools.study_data.pictures import Look, Source, image, mask, squared


def source(key, label=0, group=None, colour=None):
    number = colour if colour is not None else sum(map(ord, key)) * 7919
    pixels = Image.new("RGBA", (8, 8), (number % 256, number // 256 % 256, number // 65536 % 256, 255))
    return Source(key, group or key, label, pixels)


def test_a_picture_with_two_keys_is_kept_once_and_with_two_labels_not_at_all():
    sources = [source("a", colour=1), source("b", colour=1), source("c", 0, colour=2), source("d", 1, colour=2)]
    assert [s.key for s in division.without_duplicates(sources)] == ["a"]


def test_groups_are_in_one_split_and_shares_hold():
    sources = [
        source(f"{label} {group} {i}", label, f"{label} {group}", colour=1000 * label + 10 * group + i)
        for label in range(2)
        for group in range(20)
        for i in range(2)
    ]
    splits = division.divided("task", sources, val=0.1, test=0.25)
    # Of 20 groups a class, 5 are for test and 2 for validation, with two pictures each.
    assert {split: len(members) for split, members in splits.items()} == {"train": 52, "val": 8, "test": 20}
    groups = [{s.group for s in members} for members in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert division.divided("task", sources, val=0.1, test=0.25) == splits
    assert division.divided("other", sources, val=0.1, test=0.25) != splits


def test_a_group_with_two_classes_is_in_one_split():
    sources = [
        source(f"{label} {group}", label, f"{group}", colour=100 * label + group) for label in range(2) for group in range(9)
    ]
    splits = division.divided("task", sources)
    for members in splits.values():
        assert {s.group for s in members if s.label == 0} == {s.group for s in members if s.label == 1}


def test_shared_keys_and_pixels_are_found():
    with pytest.raises(RuntimeError, match="task: the source picture a is in"):
        division.check_disjoint("task", {"train": [source("a", colour=1)], "test": [source("a", colour=2)]})
    with pytest.raises(RuntimeError, match="under another key"):
        division.check_disjoint("task", {"train": [source("a", colour=1)], "ood": [source("b", colour=1)]})
    division.check_disjoint("task", {"train": [source("a", colour=1)], "test": [source("b", colour=2)]})
    assert division.apart([source("b", colour=1), source("c", colour=3)], {"train": [source("a", colour=1)]})[0].key == "c"


def test_images_repeat_and_classes_take_turns():
    splits = {"train": [source("a", 0), source("b", 0), source("c", 1)], "val": [source("d", 1)]}
    arrays = division.arrays("task", splits, {"train": 2}, Look())
    assert arrays["train_images"].shape == (6, 3, 48, 48) and arrays["train_images"].dtype == np.uint8
    assert arrays["train_labels"].tolist() == [0, 1, 0, 1, 0, 0] and arrays["val_labels"].tolist() == [1]
    again = division.arrays("task", splits, {"train": 2}, Look())
    assert all(np.array_equal(arrays[key], again[key]) for key in arrays)
    assert len({picture.tobytes() for picture in arrays["train_images"]}) == 6


def test_a_sample_keeps_the_order():
    sources = [source(f"{i}") for i in range(9)]
    sample = division.thinned("task", sources, 4)
    assert len(sample) == 4 and sample == sorted(sample, key=lambda s: s.key)
    assert division.thinned("task", sources, 20) == sources


def test_a_picture_is_squared_without_its_margin():
    picture = Image.new("RGBA", (40, 20))
    picture.paste((255, 0, 0, 255), (10, 5, 30, 10))
    # 20 x 5 visible pixels become 84 x 21 of 96 x 96.
    assert squared(picture, 96).getchannel("A").getbbox() == (6, 37, 90, 58)
    assert squared(Image.new("RGBA", (4, 4))) is None


def test_looks():
    rng = np.random.default_rng(0)
    red = Source("red", "red", 0, Image.new("RGBA", (96, 96), (255, 0, 0, 255)))
    assert image(red, Look(plain=True), rng)[:, 0, 0].tolist() == [255, 0, 0]
    centred = image(red, Look(scale=(0.5, 0.5), turn=0, shift=0, ground=(200, 200)), rng)
    assert centred[:, 24, 24].tolist() == [255, 0, 0] and centred[:, 2, 2].tolist() == [200, 200, 200]
    ink = Source("ink", "ink", 0, mask(Image.new("L", (96, 96), 255)))
    inked = image(ink, Look(scale=(0.5, 0.5), turn=0, shift=0, ink=True), rng).astype(int)
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(weights @ inked[:, 24, 24] - weights @ inked[:, 2, 2]) > 98
