"""Domains, splits and the Avalanche scenario made of them."""

import pytest
import torch
from avalanche.benchmarks import CLScenario

from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.domain import Domain, limited, with_validation
from benchmarks.data.sampling import permutation, shares
from benchmarks.mtil import stream
from benchmarks.plan import Ask
from benchmarks.scenario import collate, make, scenario
from models.registry import UserError
from models.transforms import Preprocess
from strategies import Strategy


def test_streams_carry_domains_and_task_labels(toy_domain):
    a, b, held = toy_domain("a", 2), toy_domain("b", 3, seed=1), toy_domain("h", 4, seed=2)
    built = scenario([a, b], [held])
    assert isinstance(built, CLScenario)
    assert list(built.streams) == ["train", "val", "test", "heldout"]
    assert [e.domain for e in built.train_stream] == [a, b]
    assert [e.task_labels for e in built.streams["test"]] == [[0], [1]]
    assert [e.task_labels for e in built.streams["heldout"]] == [[2]]
    experience = built.train_stream[1]
    image, label, task = experience.dataset.eval()[5]
    assert torch.equal(image, b.train[5][0]) and label == b.train[5][1] and task == 1
    assert experience.origin_stream.name == "train" and experience.current_experience == 1
    assert list(experience.dataset.targets) == b.train.targets


def test_training_is_augmented_and_evaluation_is_not(toy_domain):
    data = scenario([toy_domain("a")]).train_stream[0].dataset
    torch.manual_seed(0)
    assert not torch.equal(data.train()[0][0], data.train()[0][0])
    assert torch.equal(data.eval()[0][0], data.eval()[0][0])


def test_images_are_prepared_as_the_encoder_wants_them(toy_domain, toy_encoder):
    encoder = toy_encoder()
    wanted = Preprocess(48, "squash", "bilinear")
    encoder.preprocess = wanted
    made = scenario([toy_domain("a")], encoder=encoder)
    assert made.train_stream[0].preprocess == wanted and made.warnings == []
    with pytest.raises(ValueError, match="differs from the encoder's"):
        scenario([toy_domain("a")], preprocess=48, encoder=encoder)


@pytest.mark.parametrize(
    "prepared",
    [32, Preprocess(48, "squash"), Preprocess(48, "shortest", "bilinear"), Preprocess(48, "longest")],
)
def test_a_strategy_refuses_images_prepared_for_another_model(toy_domain, encoder, prepared):
    strategy = Strategy(encoder=encoder, options=Strategy.Options(iterations=1))
    other = scenario([toy_domain("a")], preprocess=prepared)
    for use in (lambda: strategy.train(other.train_stream[0], eval_streams=[]), lambda: strategy.eval(other.test_stream)):
        with pytest.raises(
            UserError, match=r"takes 48 x 48 pixels \(shortest, bicubic\)\. Make it with the encoder: make\('mtil'"
        ):
            use()
    strategy.eval(scenario([toy_domain("a")], preprocess=Preprocess(48, fill=9)).test_stream)  # shortest never pads


def test_a_missing_split_is_named(toy_domain):
    whole = toy_domain("a")
    without = Domain("a", whole.classnames, whole.templates, whole.train, whole.val, None)
    with pytest.raises(ValueError, match="'a' has no test split"):
        scenario([without])


def test_collate():
    images, labels, tasks = collate([(torch.zeros(3, 2, 2), 1, 0), (torch.ones(3, 2, 2), 2, 5)])
    assert images.shape == (2, 3, 2, 2) and labels.tolist() == [1, 2] and tasks.tolist() == [0, 5]


def test_validation_is_a_seeded_tenth_of_train(toy_domain):
    whole = toy_domain("a", train=50)
    without = Domain("a", whole.classnames, whole.templates, whole.train, None, whole.test)
    split = with_validation(without, seed=3)
    assert (len(split.train), len(split.val)) == (45, 5)
    indices = [*split.train.indices, *split.val.indices]
    assert sorted(indices) == list(range(50))
    assert with_validation(without, seed=3).val.indices == split.val.indices != with_validation(without, seed=4).val.indices
    assert targets_of(split.val) == [whole.train.targets[i] for i in split.val.indices]
    assert with_validation(whole) is whole


def counts(split):
    targets = targets_of(split)
    return [targets.count(label) for label in range(max(targets) + 1)]


def of_counts(numbers, **splits):
    labels = [label for label, number in enumerate(numbers) for _ in range(number)]
    images = TensorImages(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels)
    return Domain("d", [f"class {label}" for label in range(len(numbers))], ("{}",), images, None, images, **splits)


@pytest.mark.parametrize("seed", range(5))
def test_validation_is_drawn_by_class_and_never_takes_the_last_image(seed):
    # 41 images, 4 of them: shares 1.95, 1.17, 0.10, 0.59, 0.20.
    split = with_validation(of_counts([20, 12, 1, 6, 2]), seed)
    assert counts(split.train) == [18, 11, 1, 5, 2] and counts(split.val) == [2, 1, 0, 1]
    assert split.split_sources["val"] == f"10 % of the training images, by class, seed {seed}"
    # 48 images, 4 of them, from four classes.
    split = with_validation(of_counts([2] * 24), seed)
    assert (len(split.train), len(split.val)) == (44, 4) and min(counts(split.train)) == 1


def test_classes_of_one_image_give_none_to_validation():
    single = of_counts([1, 1, 1])
    assert with_validation(single).val is None and len(with_validation(single).train) == 3
    unchanged = with_validation(single, take=False)
    assert len(unchanged.train) == 3 and len(unchanged.val) == 1
    # Other classes make up for a class with too few images.
    assert counts(with_validation(of_counts([1] * 15 + [5])).val)[15] == 2


def test_validation_takes_at_most_5000_images():
    split = with_validation(of_counts([40_000, 20_000]))
    assert counts(split.val) == [3333, 1667] and counts(split.train) == [36_667, 18_333]


def test_shares_by_hand():
    assert shares([50, 30, 20], 10, [50, 30, 20]) == [5, 3, 2]
    assert shares([50, 30, 20], 10, [50, 1, 20]) == [6, 1, 3]
    assert shares([98, 1, 1], 10, [98, 1, 1], least=1) == [8, 1, 1]
    assert shares([3, 0, 3], 4, [3, 0, 3], least=1) == [2, 0, 2]
    assert shares([5, 5], 100, [5, 5]) == [5, 5] and shares([0, 0], 3, [0, 0]) == [0, 0]
    assert sorted(shares([1, 1, 1, 1], 2, [1, 1, 1, 1], least=1)) == [0, 0, 1, 1], "more classes than places"
    assert len({tuple(shares([1] * 6, 2, [1] * 6, seed=seed)) for seed in range(9)}) > 1, "ties go by the seed"


def test_limit(toy_domain):
    cut = limited(toy_domain("a"), 5, seed=1)
    assert [len(getattr(cut, s)) for s in ("train", "val", "test")] == [5, 5, 5]
    assert limited(toy_domain("a"), 5, seed=1).train.indices == cut.train.indices
    with pytest.raises(ValueError, match="at least 1"):
        limited(toy_domain("a"), 0)
    rare = limited(of_counts([97, 2, 1]), 10, seed=1)
    assert counts(rare.train) == counts(rare.test) == [8, 1, 1], "a limit empties no class"
    assert rare.warnings == ()
    few = limited(of_counts([9, 9, 9, 9]), 3)
    assert few.warnings == ("--limit 3 is less than the 4 classes of d: 1 of them has no training image",)


def test_permutation_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    permutation(10, 3)
    assert torch.equal(torch.rand(1), expected)


def test_targets_are_read_from_items_when_nothing_says_them():
    assert targets_of([("x", 2), ("y", 0)]) == [2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(classnames=()), "no class names"),
        (dict(templates=()), "no prompt templates"),
        (dict(templates=("a photo",)), "no '{}'"),
    ],
)
def test_domain_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Domain(
            **{
                "name": "d",
                "classnames": ("a",),
                "templates": ("{}",),
                "train": None,
                "val": None,
                "test": None,
                **arguments,
            }
        )


def test_prompts_keep_braces_in_class_names():
    assert Domain("d", ["{x}"], ["a {}."], None, None, None).prompts() == ["a {x}."]


def test_tensor_images_errors():
    with pytest.raises(ValueError, match="uint8"):
        TensorImages(torch.zeros(2, 3, 4, 4), [0, 1])
    with pytest.raises(ValueError, match="3 targets"):
        TensorImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1, 0])


def test_orders():
    from benchmarks import mini

    one, two = stream(Ask(edition="mini", order="I")), stream(Ask(edition="mini", order="II"))
    assert one.names == tuple(sorted(mini.STREAM)) and one.heldout == tuple(mini.HELDOUT)
    assert sorted(two.names) == sorted(one.names) and two.names != one.names
    custom = stream(Ask(edition="mini", order=f"{one.names[2]},{one.names[0]}"))
    assert custom.order == "custom" and custom.names == (one.names[2], one.names[0])
    # Training a held-out domain takes it out of the default held-out set.
    assert mini.HELDOUT[0] not in stream(Ask(edition="mini", order=(mini.HELDOUT[0],))).heldout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mini", "mnits,logos"), "Did you mean mnist"),
        (("mini", "III"), "Unknown order"),
        (("mini", ("mnist", "mnist")), "twice"),
        (("mini", ("mnist",), ("mnist",)), "both trained and held out"),
        (("own", "I"), "mtil has the editions mini and full"),
        (("full", "mnist"), "Did you mean MNIST"),
        (("mini", "Aircraft,mnist"), "Unknown domain 'Aircraft'"),
    ],
)
def test_order_errors(arguments, message):
    with pytest.raises(UserError, match=message):
        stream(Ask(**dict(zip(("edition", "order", "heldout"), arguments, strict=False))))


def test_make_knows_its_benchmarks_and_editions(toy_benchmark):
    built = make(toy_benchmark, limit=6)
    assert [e.domain.name for e in built.train_stream] == ["red", "green", "blue"]
    assert len(built.train_stream[0].dataset) == 6
    with pytest.raises(UserError, match="Did you mean mtil"):
        make("mitl")
    with pytest.raises(UserError, match="Unknown edition"):
        make(toy_benchmark, "huge")
