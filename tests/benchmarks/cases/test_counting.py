"""The case study of counting: what its pictures give away, and which numbers are trained and tested."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.cases import counted_things, counting
from benchmarks.data.dataset import targets_of
from benchmarks.mini.render import generator
from benchmarks.mini.shapes import shape_alpha
from benchmarks.plan import Ask
from models.registry import UserError


@pytest.fixture(scope="module")
def pictures():
    """40 training pictures of each number from 1 to 8: images [320, 3, 48, 48] and numbers [320]."""
    numbers = np.repeat(np.arange(1, 9), 40)
    rng = generator("test", "pictures")
    return np.stack([counted_things.picture(n, counted_things.SHAPES, rng) for n in numbers]), numbers


def features(images):
    """Return the brightness, its spread, the mean of each colour, and the share of pixels that differ from the median."""
    light = images.astype(float).mean(axis=1)
    difference = np.abs(light - np.median(light, axis=(1, 2), keepdims=True))
    area = [(difference > limit).mean(axis=(1, 2)) for limit in (30, 60)]
    colours = images.reshape(len(images), 3, -1).mean(axis=2)
    return np.column_stack([np.ones(len(images)), light.mean(axis=(1, 2)), light.std(axis=(1, 2)), *area, colours])


def test_brightness_and_area_do_not_give_the_number_away(pictures):
    images, numbers = pictures
    x, train = features(images), np.arange(len(numbers)) % 2 == 0
    weights = np.linalg.lstsq(x[train], numbers[train], rcond=None)[0]
    predicted = x[~train] @ weights
    residual = ((predicted - numbers[~train]) ** 2).mean() / numbers[~train].var()
    assert residual > 0.6, "a line explains less than 40 % of the variance"
    assert (predicted.round() == numbers[~train]).mean() < 2 / 8, "chance is 1 / 8"


@pytest.mark.parametrize("shapes", [counted_things.SHAPES, counted_things.NEW_SHAPES])
def test_a_picture_has_that_number_of_separate_things(shapes, monkeypatch):
    drawn = []
    monkeypatch.setattr(counted_things, "LINES", 0)
    monkeypatch.setattr(counted_things, "shape_alpha", lambda *thing: drawn.append(thing) or shape_alpha(*thing))
    for number in (1, 5, 10):
        drawn.clear()
        counted_things.picture(number, shapes, generator("test", "separate", str(number)))
        _, islands = ndimage.label(sum(shape_alpha(*thing) for thing in drawn) > 0, structure=np.ones((3, 3)))
        assert islands == len(drawn) == number and {shape for shape, *_ in drawn} <= set(shapes)


def test_size_and_total_area_both_overlap_between_numbers():
    rng = generator("test", "radii")
    one, eight = ([counted_things._radii(n, rng) for _ in range(400)] for n in (1, 8))
    areas = [np.pi * np.array([(radii**2).sum() for radii in group]) for group in (one, eight)]
    low, high = counted_things.AREA
    for area in areas:
        assert ((area > low) & (area < high)).mean() > 0.4, "half of the pictures have the same total area"
    sizes = [np.array([radii.mean() for radii in group]) for group in (one, eight)]
    assert (sizes[0] < sizes[1].max()).mean() > 0.4, "half of the single things are as small as those of eight"


def test_roles_of_the_numbers(monkeypatch):
    monkeypatch.setattr(counting, "PER_NUMBER", {"train": 3, "val": 1, "test": 2, "new": 2})
    monkeypatch.setattr("benchmarks.mini.cache.load_or_make", lambda name, make: make())
    plan = counting.stream(Ask())
    assert plan.names == ("odd-counts",)
    assert plan.heldout == ("buttons", "digits", "objects", *plan.targets)
    domains = {name: counting._domain(name, "mini", (), ()) for name in (*plan.names, *plan.targets)}
    odd, even = ("one thing", "three things", "five things", "seven things"), ("two things", "four things", "six things")
    task, evens, among_all, new = domains.values()
    assert task.classnames == new.classnames == odd and evens.classnames == (*even, "eight things")
    assert Counter(targets_of(task.train)) == dict.fromkeys(range(4), 3) and len(task.val) == 4
    assert Counter(targets_of(evens.test)) == Counter(targets_of(new.test)) == dict.fromkeys(range(4), 2)
    assert among_all.classnames == counting.THINGS
    assert Counter(targets_of(among_all.test)) == dict.fromkeys((1, 3, 5, 7), 2), "even numbers of all"
    assert all((among_all.test[i][0] == evens.test[i][0]).all() for i in range(8)), "the same pictures"
    assert len(evens.train) == 0 and new.train is None
    images = [domain.test[i][0].numpy().tobytes() for domain in (task, evens, new) for i in range(len(domain.test))]
    images += [task.train[i][0].numpy().tobytes() for i in range(12)] + [task.val[i][0].numpy().tobytes() for i in range(4)]
    assert len(set(images)) == len(images) == 3 * 8 + 16, "no picture is in two splits"


def test_drawing_is_deterministic():
    one, again = (counted_things.picture(4, counted_things.SHAPES, generator("a")) for _ in range(2))
    assert np.array_equal(one, again) and one.shape == (3, 48, 48) and one.dtype == np.uint8


def test_clevr(full_roots, tmp_path):
    """The full edition reads CLEVR's files: 3 to 10 objects, odd numbers are trained, even numbers are targets."""
    full_roots.write(tmp_path, ["clevr"])
    plan = counting.stream(Ask(edition="full", data_root=str(tmp_path), heldout=("none",)))
    assert plan.names == ("odd-counts",) and plan.targets == ("even-counts", "even-counts-among-all") and plan.full_size
    plan.check()
    built = plan.build(None, ("train", "val", "test"))
    [task], (evens, among_all) = built.trained, built.heldout
    assert task.classnames == ("3", "5", "7", "9") and evens.classnames == ("4", "6", "8", "10")
    assert task.prompts()[0] == "a photo of 3 objects." and task.val is None, "validation images come from train"
    assert Counter(targets_of(task.train)) == dict.fromkeys(range(4), 2) and len(task.test) == 4
    assert among_all.classnames == tuple(map(str, range(3, 11))) and targets_of(among_all.test) == [1, 3, 5, 7]
    assert targets_of(evens.test) == [0, 1, 2, 3]
    assert "CLEVR_val_000001" in evens.test.dataset.dataset.paths[evens.test.dataset.indices[0]]
    other = counting.stream(Ask(edition="full", data_root=str(tmp_path / "x")))
    assert other.heldout == ("imagenet", *other.targets) and other.version() != plan.version()
    with pytest.raises(UserError, match=r"^2 datasets are missing .*: imagenet, clevr\."):
        other.check()


def test_mistakes():
    for wrong, message in (({"edition": "own"}, "editions mini and full"), ({"order": "II"}, "takes no --order")):
        with pytest.raises(UserError, match=message):
            counting.stream(Ask(**wrong))
