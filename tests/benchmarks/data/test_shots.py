"""Few-shot choices: exactly k images of each class, which depend only on the seed and the class."""

from dataclasses import replace

import pytest
import torch

from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.shots import shots, with_shots
from models.registry import UserError


def make(labels, classnames=("cat", "dog", "fox"), **splits):
    """Image i is filled with i."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return Domain("pets", classnames, ("{}",), TensorImages(images, labels), splits.get("val"), TensorImages(images, labels))


def chosen(domain, label):
    """Return the values of the training images of one class."""
    return {int(domain.train[i][0][0, 0, 0]) for i, t in enumerate(targets_of(domain.train)) if t == label}


def test_exactly_k_of_each_class_and_the_rest_untouched():
    domain = make([0] * 9 + [1] * 4 + [2] * 6, val=object())
    few = shots(domain, 4)
    targets = targets_of(few.train)
    assert [targets.count(c) for c in range(3)] == [4, 4, 4]
    assert chosen(few, 1) == {9, 10, 11, 12}
    assert few.val is domain.val and few.test is domain.test
    assert len({int(few.train[i][0][0, 0, 0]) for i in range(12)}) == 12


def test_seeded_nested_and_independent_of_the_other_classes():
    domain = make([0] * 20 + [1] * 20 + [2] * 20)
    assert chosen(shots(domain, 5, 0), 0) == chosen(shots(domain, 5, 0), 0) != chosen(shots(domain, 5, 1), 0)
    assert chosen(shots(domain, 3), 0) < chosen(shots(domain, 5), 0)
    # "cat" has the same images 0..19 in both; order and number of the other classes differ.
    other = make([2] * 20 + [0] * 7 + [1] * 11, classnames=("fox", "dog", "cat"))
    assert chosen(shots(other, 5), 2) == chosen(shots(domain, 5), 0)


def test_shots_come_first_and_validation_is_drawn_from_the_rest():
    domain = make([0] * 20 + [1] * 20 + [2] * 4)
    few = with_shots(domain, 4)
    assert sorted(targets_of(few.train)) == [0] * 4 + [1] * 4 + [2] * 4
    assert [few.train.indices, with_shots(domain, 4).val.indices] == [shots(domain, 4).train.indices, few.val.indices]
    # A tenth of the 44 training images. All four images of the smallest class are shots.
    assert sorted(targets_of(few.val)) == [0, 0, 1, 1] and not set(few.val.indices) & set(few.train.indices)
    assert with_shots(domain, 4, seed=1).val.indices != few.val.indices
    exact = with_shots(make([0, 1, 2] * 4), 4)
    assert len(exact.train) == 12 and exact.val is None
    whole = with_shots(make([0, 1, 2] * 4), 4, take=False)
    assert len(whole.train) == 12 and len(whole.val) == 1


def test_an_existing_validation_split_is_kept():
    domain = make([0, 1, 2] * 5, val=object())
    assert with_shots(domain, 5).val is domain.val and len(with_shots(domain, 5).train) == 15


def test_refused():
    domain = make([0] * 3 + [1] * 2 + [2] * 3)
    with pytest.raises(UserError, match="class 'dog' of 'pets' has 2 training images, fewer than the 3 shots"):
        shots(domain, 3)
    with pytest.raises(UserError, match="at least 1, got 0"):
        shots(domain, 0)
    with pytest.raises(UserError, match="'pets' has no training images"):
        shots(replace(domain, train=None), 1)


def test_a_class_with_too_few_images_repeats_them_if_asked():
    domain = make([0] * 20 + [1] * 3 + [2] * 5)
    few = shots(domain, 5, seed=42, repeat=True)
    assert [targets_of(few.train).count(c) for c in range(3)] == [5, 5, 5]
    assert few.train.indices == shots(domain, 5, seed=42, repeat=True).train.indices
    # The classes with enough images are chosen as without repetition.
    enough = make([0] * 20 + [1] * 5 + [2] * 5)
    assert chosen(few, 0) == chosen(shots(enough, 5, seed=42), 0) and len(chosen(few, 2)) == 5
    assert chosen(few, 1) <= {20, 21, 22}
    assert few.split_sources["train"] == "5 of each class (--shots), seed 42, with repetition in 1 classes"
    # Its images may all be shots, so none of them is a validation image.
    held = with_shots(domain, 5, seed=42, repeat=True)
    assert set(targets_of(held.val)) == {0}
    with pytest.raises(UserError, match="class 'fox' of 'pets' has 0 training images"):
        shots(make([0] * 5 + [1] * 5), 5, repeat=True)
