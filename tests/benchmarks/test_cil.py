"""Class-incremental steps: no class is lost, every image is in its step under its class name, in the published orders."""

import random

import numpy as np
import pytest
from torch.utils.data import Subset

from benchmarks import Domain
from benchmarks.catalog import find
from benchmarks.cil import DATASETS, class_order, split_classes, step_sizes, stream
from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.images import ArrayImages
from benchmarks.full.dataset_table import class_orders
from benchmarks.plan import Ask
from benchmarks.scenario import assemble
from models.registry import UserError


@pytest.fixture
def animals():
    """Five classes; every pixel of image i is i. Class c has 2 + c training and 1 + c test images."""

    def split(counts, start):
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        labels = [labels[i] for i in np.random.default_rng(0).permutation(len(labels))]
        pixels = np.arange(start, start + len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
        return ArrayImages(np.broadcast_to(pixels, (len(labels), 4, 4, 3)).copy(), labels, "made up")

    def make(val=True):
        return Domain(
            "animals", ("ant", "bee", "cat", "dog", "elk"), ("a {}.", "the {}."),
            split([2, 3, 4, 5, 6], 0), split([1] * 5, 100) if val else None, split([1, 2, 3, 4, 5], 200),
        )  # fmt: skip

    return make


@pytest.mark.parametrize("base", [0, 1, 2, 7, 20])
def test_no_class_is_ever_dropped(base):
    for classes in range(1, 41):
        for steps in range(1, 42):
            if classes - base < steps:
                with pytest.raises(UserError, match="cannot be split into"):
                    step_sizes(classes, steps, base)
                continue
            sizes = step_sizes(classes, steps, base)
            rest = sizes[1:] if base else sizes
            assert sum(sizes) == classes and len(rest) == steps and sizes[: len(sizes) - steps] == [base] * (base > 0)
            assert max(rest) - min(rest) <= 1 and rest == sorted(rest, reverse=True)


@pytest.mark.parametrize(
    ("classes", "steps", "base", "expected"),
    [
        (100, 10, 0, [10] * 10), (100, 20, 0, [5] * 20), (100, 50, 0, [2] * 50),
        (200, 5, 100, [100] + [20] * 5), (200, 10, 100, [100] + [10] * 10), (200, 20, 100, [100] + [5] * 20),
        (100, 10, 50, [50] + [5] * 10), (26, 5, 0, [6, 5, 5, 5, 5]),
    ],
)  # fmt: skip
def test_the_papers_steps(classes, steps, base, expected):
    assert step_sizes(classes, steps, base) == expected


@pytest.mark.parametrize(
    ("dataset", "steps", "tasks", "benchmark"),
    [
        ("cifar100", None, 10, "cil-cifar100-10"),
        ("cifar100", 50, 50, "cil-cifar100-50"),
        ("tinyimagenet", None, 11, "cil-tinyimagenet-10"),
        ("tinyimagenet", 20, 21, "cil-tinyimagenet-20"),
        ("imagenet100", None, 10, "cil-imagenet100-10"),
        ("imagenet", None, 10, "cil-imagenet-10"),
    ],
)
def test_plans_of_the_papers(dataset, steps, tasks, benchmark):
    plan = stream(Ask(dataset=dataset, steps=steps))
    assert plan.names == tuple(f"step-{k}" for k in range(1, tasks + 1)) and plan.benchmark == benchmark
    assert (plan.edition, plan.protocol, plan.order, plan.heldout) == ("full", "class", "default", ())
    assert plan.full_size and plan.whole_train
    assert plan.reference == ("conceptual_captions", "conceptual_captions")


def test_another_base_is_another_benchmark():
    assert stream(Ask(dataset="imagenet100", base=50)).benchmark == "cil-imagenet100-10-base50"
    assert stream(Ask(dataset="tinyimagenet", base=0)).benchmark == "cil-tinyimagenet-10-base0"
    assert stream(Ask(dataset="tinyimagenet", base=100)).benchmark == "cil-tinyimagenet-10"


def test_the_mini_edition_is_the_default():
    plan = stream(Ask())
    assert (plan.edition, plan.benchmark, len(plan.names)) == ("mini", "cil-nature-5", 5)
    assert not plan.full_size and not plan.whole_train and plan.reference == ("mini", "mini")


def test_published_class_orders():
    tiny = list(range(200))
    random.Random(0).shuffle(tiny)
    hundred = np.arange(100)
    np.random.RandomState(1993).shuffle(hundred)
    orders = class_orders()
    assert orders["cifar100"][:10] == [87, 0, 52, 58, 44, 91, 68, 97, 51, 15]
    assert sorted(orders["cifar100"]) == list(range(100))
    assert orders["tinyimagenet"] == tiny and orders["imagenet100"] == hundred.tolist()


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_papers_dataset_comes_in_its_published_order(dataset):
    count = len(class_orders()[dataset])
    domain = Domain(dataset, [f"class {i}" for i in range(count)], ["{}"], None, None, None)
    assert class_order(domain, None, dataset) == class_orders()[dataset]
    assert class_order(domain, None, "something else") == list(range(count)) and count in (100, 200, 1000)


def test_an_order_of_ones_own(animals):
    domain = animals()
    assert class_order(domain, ("elk", "ant", "dog", "bee", "cat"), "animals") == [4, 0, 3, 1, 2]
    for order, message in (
        (("elk", "ant"), "each of the 5 classes of 'animals' once, not 2 names"),
        (("elk", "ant", "dog", "bee", "bee"), "each of the 5 classes"),
        (("elk", "ant", "dog", "bee", "cta"), "Unknown class 'cta'. Did you mean cat"),
    ):
        with pytest.raises(UserError, match=message):
            class_order(domain, order, "animals")


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 0, 3, 1, 2), (2, 4, 1, 3, 0)])
@pytest.mark.parametrize("sizes", [(5,), (2, 3), (3, 1, 1), (1, 1, 1, 1, 1)])
def test_every_image_is_in_one_step_under_its_name(animals, order, sizes):
    domain = animals()
    steps = split_classes(domain, order, sizes)
    assert [step.name for step in steps] == [f"step-{k + 1}" for k in range(len(sizes))]
    names = [name for step in steps for name in step.classnames]
    assert names == [domain.classnames[label] for label in order] and [len(s.classnames) for s in steps] == list(sizes)
    for split in ("train", "val", "test"):
        whole = getattr(domain, split)
        named = {whole[i][0].getpixel((0, 0)): domain.classnames[whole[i][1]] for i in range(len(whole))}
        assert len(named) == len(whole)
        images = []
        for step in steps:
            data = getattr(step, split)
            items = [data[i] for i in range(len(data))]
            assert targets_of(data) == [label for _, label in items]
            assert sorted(set(targets_of(data))) == list(range(len(step.classnames))), "labels 0..c-1, each with images"
            images += [(image.getpixel((0, 0)), step.classnames[label]) for image, label in items]
        assert sorted(images) == sorted(named.items())
    assert all(step.templates == domain.templates and step.ood is None for step in steps)


def test_a_step_without_validation_images_has_no_validation_split_and_the_others_keep_theirs(animals):
    domain = animals()
    few = Subset(domain.val, [i for i, label in enumerate(domain.val.targets) if label != 2])
    steps = split_classes(Domain("animals", domain.classnames, ("{}",), domain.train, few, domain.test), range(5), (2, 1, 2))
    assert [step.val is None for step in steps] == [False, True, False] and all(len(step.train) for step in steps)
    assert sum(len(step.val) for step in steps if step.val is not None) == len(few)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_step_without_images_is_named(animals, split):
    domain = animals()
    splits = {name: getattr(domain, name) for name in ("train", "val", "test")}
    splits[split] = Subset(splits[split], [i for i, label in enumerate(splits[split].targets) if label != 2])
    with pytest.raises(UserError, match=rf"Step 2 of 'animals' has no images in the {split} split"):
        split_classes(Domain("animals", domain.classnames, ("{}",), **splits), range(5), (2, 1, 2))


def test_evaluation_alone_needs_no_training_images(animals):
    domain = animals()
    steps = split_classes(Domain("animals", domain.classnames, ("{}",), None, None, domain.test), range(5), (3, 2))
    assert [step.train for step in steps] == [None, None] and [len(step.test) for step in steps] == [6, 9]


def test_the_papers_protocol_trains_on_everything_with_one_prompt(monkeypatch):
    """A made-up CIFAR-100 through the plan: steps, order, the single prompt, training on all images."""
    import torch

    labels = [i % 100 for i in range(200)]
    pictures = TensorImages(torch.zeros(200, 3, 4, 4, dtype=torch.uint8), labels)
    domain = Domain("cifar100", [f"class {i}" for i in range(100)], ("one {}", "two {}"), pictures, None, pictures)
    monkeypatch.setattr("benchmarks.full.build", lambda *a: domain)
    monkeypatch.setattr("benchmarks.full.differences", lambda *a: ["made up"])
    made = assemble(stream(Ask(dataset="cifar100", steps=50)), preprocess=4, cache=False)
    assert made.differences == ["made up"] and len(made.train_stream) == 50
    first = made.train_stream[0]
    assert first.domain.classnames == ("class 87", "class 0") and made.train_stream[1].domain.classnames[0] == "class 52"
    assert first.domain.prompts() == ["a bad photo of a class 87.", "a bad photo of a class 0."]
    assert len(first.domain.templates) == 1 and len(first.dataset) == 4, "two images a class, all of them"
    assert first.protocol == "class" and first.rivals(0) == [] and made.streams["test"][2].rivals(1) == [0, 1]


def test_single_prompts():
    bad, good = "a bad photo of a {}.", "a good photo of a {}."
    assert {name: row.template for name, row in DATASETS.items()} == {
        "cifar100": bad,
        "tinyimagenet": bad,
        "imagenet100": good,
        "imagenet": good,
    }


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(tasks=("mnist",)), "takes no --tasks"),
        (Ask(edition="full"), "bench cil --edition full needs --dataset: cifar100, tinyimagenet, imagenet100"),
        (Ask(dataset="CIFAR100"), "Did you mean cifar100"),
        (Ask(dataset="natur"), "Did you mean nature"),
        (Ask(edition="mini", dataset="cifar100"), "'cifar100' belongs to the full edition"),
        (Ask(steps=0), "--steps must be at least 1"),
        (Ask(base=-1), "--base at least 0"),
        (Ask(heldout=("nature",)), "nature cannot be both trained and held out"),
        (Ask(classnames="names.txt"), "--classnames and --templates apply only to your data: nature has fixed class names"),
    ],
)
def test_mistakes(ask, message):
    with pytest.raises(UserError, match=message):
        stream(ask)


def test_a_seeded_order_is_numpys_legacy_permutation(animals):
    np.random.seed(1993)
    expected = np.random.permutation(100).tolist()
    assert class_orders()["imagenet100"] == expected and expected[:5] == [68, 56, 78, 8, 23]
    many = Domain("many", [f"c{i}" for i in range(100)], ("{}",), None, None, None)
    assert class_order(many, None, "many", 1993) == expected
    assert sorted(class_order(animals(), None, "animals", 5)) == [0, 1, 2, 3, 4]


def test_a_recorded_seed_is_the_same_run(full_data):
    plan = stream(Ask(order="seed:1993", steps=2))
    assert plan.order == "seed-1993" == stream(Ask(order=plan.order, steps=2)).order
    built, usual = (stream(Ask(order=order, steps=2)).build(None, ("test",)).trained for order in ("seed:1993", None))
    names = [[name for step in steps for name in step.classnames] for steps in (built, usual)]
    assert names[0] != names[1] and sorted(names[0]) == sorted(names[1])
    # The datasets of class-incremental CLIP have this order by default.
    cars = stream(Ask(dataset="cars", steps=3, data_root=str(full_data)))
    arrived = [name for step in cars.build(None, ("test",)).trained for name in step.classnames]
    order = np.random.RandomState(1993).permutation(3)
    assert cars.order == "default" and arrived == [sorted(arrived)[label] for label in order]


@pytest.mark.parametrize(("name", "note"), [("cub", None), ("imagenet-r", "lists of mammoth"), ("objectnet", "licence")])
def test_datasets_of_class_incremental_clip(name, note, full_data):
    assert len(stream(Ask(dataset=name)).names) == 10
    # Of the few made-up images of ObjectNet, which a seed splits, some classes have no image for testing.
    steps = 1 if name == "objectnet" else 3
    plan = stream(Ask(dataset=name, steps=steps, data_root=str(full_data)))
    assert (plan.edition, plan.protocol, plan.order, plan.benchmark) == ("full", "class", "default", f"cil-{name}-{steps}")
    assert [note in said for said in plan.notes] == ([] if note is None else [True])
    trained = plan.build(None, ("train", "test")).trained
    whole = find(name, "full", str(full_data)).build()
    order = np.random.RandomState(1993).permutation(3)
    assert [each for step in trained for each in step.classnames] == [whole.classnames[label] for label in order]
    assert sum(len(step.train) for step in trained) == len(whole.train) > 0
    assert all(step.templates == whole.templates and len(step.templates) == 1 for step in trained)


@pytest.mark.parametrize(
    ("ask", "base"), [({"dataset": "cifar100"}, 50), ({"dataset": "cars"}, 98), ({"dataset": "nature"}, 13)]
)
def test_half_of_the_classes_first(ask, base):
    half = stream(Ask(base="half", **ask))
    assert half.benchmark == stream(Ask(base=base, **ask)).benchmark and half.benchmark.endswith(f"-base{base}")
    assert half.details["base"] == base


def test_mistakes_of_rules(tmp_path):
    (tmp_path / "mine" / "a").mkdir(parents=True)
    for ask, message in (
        (Ask(base="third"), "--base third: give a number of classes, or half"),
        (Ask(order="seed:x"), "--order seed:x: give a whole number below"),
        (Ask(order=f"seed:{2**32}"), "give a whole number below"),
        (Ask(dataset=str(tmp_path / "mine"), base="half"), "--base half needs a dataset whose number of classes is known"),
    ):
        with pytest.raises(UserError, match=message):
            stream(ask)
