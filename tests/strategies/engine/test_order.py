"""`Order`: the caller's batches of training and reference images; training without augmentation."""

import copy
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks.data.images import ImageFiles
from benchmarks.scenario import scenario
from models.registry import UserError
from models.setting import without_usual
from strategies import Order, Strategy
from strategies.joint import Joint
from strategies.lwf import LwF
from strategies.plugins.replay import Replay
from strategies.zscl import ZSCL

QUICK = {"iterations": 5, "lr": 1e-3, "batch_size": 4, "warmup": 2}
BATCHES = [[[5, 0, 7], [1, 1, 40], [2]], [[3, 2, 9], [8, 47, 6], [0]]]
ORDER = Order(training=lambda experience: BATCHES[experience.current_experience])


class Watched(Strategy):
    """Keeps the images and labels of each batch."""

    def before_run(self):
        super().before_run()
        self.met = []

    def compute_loss(self, batch):
        self.met.append((batch.images.clone(), batch.labels.tolist()))
        return super().compute_loss(batch)


class Distils(ZSCL):
    """Keeps the indices of the reference images of each update."""

    def before_run(self):
        super().before_run()
        self.met = []

    def compute_loss(self, batch):
        self.met.append(self.reference_index.tolist())
        return super().compute_loss(batch)


def train(method, encoder, stream, tasks=2, order=None, reference=None, plugins=(), **options):
    given = method.Options(**{**QUICK, **options})
    strategy = method(encoder=encoder, options=given, order=order, reference=reference, plugins=list(plugins))
    for experience in list(stream.train_stream)[:tasks]:
        strategy.train(experience, eval_streams=[])
    return strategy


def test_the_batches_are_those_of_the_order_and_start_again(encoder, stream):
    strategy = train(Watched, encoder, stream, order=ORDER, augmentation="none")
    expected = [index for batches in BATCHES for index in (*batches, *batches[:2])]
    assert len(strategy.met) == len(expected) == 10
    for step, (batch, (images, labels)) in enumerate(zip(expected, strategy.met, strict=True)):
        data = stream.train_stream[step // 5].domain.train
        assert torch.equal(images, data.images[batch]), "the very images, not augmented"
        assert labels == [data.targets[i] for i in batch]
    assert strategy.images_seen == 3 + 3 + 1 + 3 + 3


def test_a_generator_may_be_endless_and_images_be_augmented(encoder, stream):
    def endless(experience):
        start = 0
        while True:
            yield range(start, start + 2)
            start += 1

    strategy = train(Watched, encoder, stream, tasks=1, order=Order(training=endless))
    data = stream.train_stream[0].domain.train
    assert [labels for _, labels in strategy.met] == [data.targets[i : i + 2] for i in range(5)]
    assert not torch.equal(strategy.met[0][0], data.images[:2])


@pytest.mark.slow
def test_images_in_files_come_in_the_order_whatever_the_workers(toy_encoder, toy_domain, tmp_path):
    generator = torch.Generator().manual_seed(0)
    for i in range(9):
        pixels = torch.randint(0, 256, (48, 48, 3), generator=generator).to(torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    files = ImageFiles(sorted(tmp_path.glob("*.png")), range(9))
    stream = scenario([replace(toy_domain("files", 9), train=files)])
    order = Order(training=lambda experience: [[8, 3], [0, 5]])
    strategy = train(Watched, toy_encoder(), stream, tasks=1, order=order, augmentation="none")
    assert [labels for _, labels in strategy.met] == [[8, 3], [0, 5], [8, 3], [0, 5], [8, 3]]
    transformed = stream.train_stream[0].dataset.eval()
    assert all(torch.equal(image, transformed[i][0]) for image, i in zip(strategy.met[0][0], (8, 3), strict=True))


@pytest.mark.slow
def test_the_reference_images_are_those_of_the_order(toy_encoder, stream, reference):
    lists = [[[4, 4, 1], [39, 0]], [[7], [8, 2]]]
    order = Order(reference=lambda experience: lists[experience.current_experience])
    strategy = train(Distils, toy_encoder(), stream, order=order, reference=reference)
    assert strategy.met == [each[step % 2] for each in lists for step in range(5)]


@pytest.mark.slow
def test_a_teacher_of_the_task_is_computed_on_the_images_of_the_order(toy_encoder, stream):
    """Computed before the first update, as with a teacher that is asked in each update."""
    order = Order(training=ORDER.training, reference=lambda experience: [[4, 1], [30, 0, 7]])
    fast, plain = (train(LwF, toy_encoder().double(), stream, order=order, exactness=way).history for way in ("fast", "plain"))
    assert [row["loss"] for row in fast] == pytest.approx([row["loss"] for row in plain], rel=1e-6)
    assert len({row["loss"] for row in fast}) == 5


@pytest.mark.slow
def test_a_task_continues_at_the_next_batch(toy_encoder, stream, reference):
    order = replace(ORDER, reference=lambda experience: [[4, 1], [30, 0, 7], [2]])
    options = ZSCL.Options(**QUICK, average_every=2)
    made = {"options": options, "order": order, "reference": reference}
    whole, taken = ZSCL(encoder=toy_encoder(), **made), []

    def save(take, last):
        if len(whole.history) == 2:
            taken.append(copy.deepcopy((whole.encoder.state_dict(), take())))

    whole.between_steps = save
    whole.train(stream.train_stream[0], eval_streams=[])
    continued = ZSCL(encoder=toy_encoder(), **made)
    (continued.middle,) = taken
    continued.train(stream.train_stream[0], eval_streams=[])
    assert [row["loss"] for row in continued.history] == [row["loss"] for row in whole.history]


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            [[0, 48]],
            r"Order\.training gave index 48 for the task 'a'\. Each batch needs indices of its 48 training images, 0 to 47",
        ),
        ([[0, -1]], "gave index -1"),
        ([[0], []], "gave an empty batch"),
        ([], "gave no batches for the task 'a'. It is called again"),
        (iter([[0], [1]]), "gave no batches for the task 'a'. It is called again"),
    ],
)
def test_mistakes_in_the_batches(encoder, stream, batches, message):
    with pytest.raises(UserError, match=message):
        train(Strategy, encoder, stream, tasks=1, order=Order(training=lambda experience: batches))


def test_mistakes_in_the_batches_of_reference_images(encoder, stream, reference):
    order = Order(reference=lambda experience: [[40]])
    with pytest.raises(UserError, match=r"Order\.reference gave index 40 for the task 'a'.* its 40 reference images"):
        train(ZSCL, encoder, stream, tasks=1, order=order, reference=reference)
    with pytest.raises(UserError, match=r"Order\.reference has no effect with reference_images=batch"):
        train(LwF, encoder, stream, tasks=1, order=order, reference_images="batch")


@pytest.mark.parametrize("which", ["joint", "replay"])
def test_batches_of_several_tasks_have_no_order(which, encoder, stream):
    method, plugins = (Joint, []) if which == "joint" else (Strategy, [Replay(8, None, False)])
    with pytest.raises(UserError, match=r"Order\.training has no effect, because the method or a plugin such as replay"):
        train(method, encoder, stream, order=ORDER, plugins=plugins)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["joint", "replay", "own"])
def test_without_augmentation_every_image_is_an_image_of_the_data(which, encoder, stream):
    class JointWatched(Watched, Joint):
        """Joint training that keeps its batches."""

    method = JointWatched if which == "joint" else Watched
    plugins = [Replay(8, None, False)] if which == "replay" else []
    strategy = train(method, encoder, stream, plugins=plugins, augmentation="none")
    known = {image.numpy().tobytes() for e in stream.train_stream for image in e.domain.train.images}
    met = {image.numpy().tobytes() for images, _ in strategy.met for image in images}
    assert met <= known and len(met) > 20


def test_only_runs_without_augmentation_have_it_in_their_key():
    assert "augmentation" not in without_usual(Strategy.Options())
    assert without_usual(Strategy.Options(augmentation="none"))["augmentation"] == "none"
