"""Dataset objects as domains, accepted and refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.images import fingerprint_of
from benchmarks.own import from_dataset
from models.registry import UserError


class Pets:
    """Items (PIL image, label) with a count of reads."""

    def __init__(self, labels=(0, 1, 0, 1, 0), classes=("cat", "big_dog"), image=None):
        self.given, self.read = list(labels), 0
        self.image = Image.new("L", (3, 3)) if image is None else image
        if classes is not None:
            self.classes = list(classes)

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        self.read += 1
        return self.image, self.given[index]


class WithTargets(Pets):
    @property
    def targets(self):
        return torch.tensor(self.given)


def test_labels_in_attributes_need_no_pass():
    train, test = WithTargets(), WithTargets([1, 0])
    domain = from_dataset(train, test)
    assert domain.name == "withtargets" and domain.classnames == ("cat", "big dog")
    assert domain.train is train and domain.test is test and domain.val is None
    assert (train.read, test.read) == (3, 2)


def test_other_labels_are_read_once():
    train = Pets()
    domain = from_dataset(train=train, test=WithTargets(), name="pets", classnames=["x", "y"], templates=["a {}"])
    before = train.read
    assert targets_of(domain.train) == [0, 1, 0, 1, 0] and train.read == before
    assert domain.train[1] == (train.image, 1) and len(domain.train) == 5
    assert fingerprint_of(domain.train) is None
    assert (domain.name, domain.classnames, domain.templates) == ("pets", ("x", "y"), ("a {}",))


def test_labels_of_items_take_precedence_over_targets():
    class Turned(WithTargets):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, 1 - label

    assert targets_of(from_dataset(test=Turned(), name="t").test) == [1, 0, 1, 0, 1]


def test_subsets_tensors_numpy_labels_synonyms_and_ood():
    images = TensorImages(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), [0, 1, 1, 0])
    train = ConcatDataset([Subset(Subset(WithTargets(classes=[("cat", "puss"), "dog"]), [0, 1, 2]), [0, 1]), images])
    domain = from_dataset(train, WithTargets(np.int64([0, 1]), classes=None), ood=images)
    assert domain.classnames == ("cat", "dog") and domain.ood is images
    assert targets_of(domain.train) == [0, 1, 0, 1, 1, 0]


def test_validation_in_place_of_test():
    domain = from_dataset(WithTargets(), val=WithTargets([0, 1]))
    assert domain.val is None and len(domain.test) == 2 and "tested on the validation split" in domain.source


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (None, None, "needs a dataset"),
        (WithTargets(), None, "needs test= or val= in addition to train="),
        (None, "pets", "test split of str is a str: give a dataset object"),
        (None, Pets([]), "test split of pets is empty"),
        (None, Pets(image=torch.zeros(3, 4, 4)), "Item 0 of .* tensor of float32, so it is already transformed"),
        (None, Pets(image=torch.zeros(1, 4, 4, dtype=torch.uint8)), r"shape \(1, 4, 4\); the shape must be"),
        (None, Pets(image=np.zeros((4, 4, 3), np.uint8)), "is a ndarray; it must be a PIL image"),
        (None, Pets(["0", "1"]), "has the label '0'; labels must be integers"),
        (None, Pets([0, 0.5]), "Item 1 .* has the label 0.5; labels must be integers"),
        (None, Pets([0, 1, None, 1, 0, 1, 0]), "Item 2 .* has the label None"),
        (None, TensorDataset(torch.zeros(2)), r"not a pair \(image, label\)|a pair \(image, label\) is wanted"),
        (None, Pets(classes=None), "no attribute `classes`"),
        (WithTargets(), WithTargets(classes=["a", "b"]), "train and test splits of .* different `classes`"),
        (None, WithTargets([0, 1, 2]), r"Item 2 of the test split of withtargets has the label 2, outside 0\.\.1"),
        (None, WithTargets([0, -1]), r"Item 1 .* label -1, outside 0\.\.1"),
        (WithTargets([0, 0]), WithTargets(), "class 'big dog' of withtargets has images in test but none in train"),
        (WithTargets(classes=["a", "b"]), WithTargets(classes=["b", "a"]), "train and test splits of .* different `classes`"),
        (None, WithTargets([0, 0], classes=["a"]), "At least two classes"),
        (None, WithTargets(classes=["a_b", "a b"]), "have the same class name, 'a b'"),
    ],
)
def test_refused(train, test, message):
    with pytest.raises(UserError, match=message):
        from_dataset(train, test)


def test_refused_names():
    with pytest.raises(UserError, match="must be a list in the order of its labels"):
        from_dataset(test=WithTargets(), classnames={"0": "a", "1": "b"})
    with pytest.raises(UserError, match=r"label 1, outside 0\.\.|At least two"):
        from_dataset(test=WithTargets(), classnames=["a"])
    with pytest.raises(UserError, match=r"which has no '{}'"):
        from_dataset(test=WithTargets(), templates=["a photo"])


def test_given_names_of_the_same_classes_are_matched_by_name():
    assert from_dataset(test=WithTargets(), classnames=["Big dog", "Cat"]).classnames == ("Cat", "Big dog")
    assert from_dataset(test=WithTargets(), classnames=["x", "y"]).classnames == ("x", "y")
    with pytest.raises(UserError, match="different `classes`"):
        from_dataset(WithTargets(classes=["a", "b"]), WithTargets(classes=["b", "a"]), classnames=["x", "y"])
    with pytest.raises(UserError, match="in another order"):
        from_dataset(test=WithTargets(), classnames=["big dog", "lion"])


def test_images_of_other_modes_are_converted_like_files():
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    domain = from_dataset(test=WithTargets([0, 1], image=clear))
    assert domain.test[0][0].getpixel((0, 0)) == (255, 255, 255) and domain.test[1][1] == 1
    assert fingerprint_of(domain.test) is None and targets_of(domain.test) == [0, 1]

    class Steps(WithTargets):
        """Item i is a floating-point image with the value 0.2 i."""

        def __getitem__(self, index):
            return Image.new("F", (1, 1), 0.2 * index), self.given[index]

    domain = from_dataset(Steps([0, 1]), Steps([0, 1, 0, 1, 0, 1]))
    assert [domain.test[i][0].getpixel((0, 0))[0] for i in range(6)] == [0, 51, 102, 153, 204, 255]
    assert domain.train[1][0].getpixel((0, 0)) == (51, 51, 51) and domain.train.depth is domain.test.depth
    bad = from_dataset(test=WithTargets([0, 1], image=Image.new("F", (1, 1), float("nan"))))
    with pytest.raises(UserError, match="Cannot read item 0 of the test split of withtargets: it has values that are not"):
        bad.test[0]
