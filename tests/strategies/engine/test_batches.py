"""Training batches of images in files do not depend on the number of processes or change other random numbers."""

from collections import Counter
from dataclasses import replace
from itertools import chain, islice

import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from benchmarks.data.dataset import Relabelled, TensorImages
from benchmarks.data.images import ImageFiles, read_image
from benchmarks.scenario import scenario
from models.registry import UserError
from strategies.engine.batches import endless, in_memory, training_loader, without_traceback
from strategies.engine.mid_task import Batches
from strategies.engine.strategy import Strategy

COUNT, BATCH = 11, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Different images with COUNT labels, so that a label identifies the image."""
    folder = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for i in range(COUNT):
        pixels = torch.randint(0, 256, (60, 50, 3), generator=generator).to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return ImageFiles(sorted(folder.glob("*.png")), range(COUNT))


@pytest.fixture
def data(files, toy_domain):
    domain = replace(toy_domain("files", COUNT), train=files)
    return scenario([domain]).train_stream[0].dataset.train()


def loader(data, workers=0, seeds=(0, 0), shuffle=True):
    return training_loader(data, BATCH, shuffle=shuffle, workers=workers, seeds=seeds, pin=False)


def labels(batches):
    return [batch[1].tolist() for batch in batches]


def order(batches):
    return [label for batch in labels(batches) for label in batch]


def test_an_epoch_has_every_image_once_and_a_smaller_last_batch(data):
    batches = loader(data)
    assert len(batches) == 3
    for _ in range(2):
        epoch = labels(batches)
        assert [len(batch) for batch in epoch] == [4, 4, 3] and sorted(chain(*epoch)) == list(range(COUNT))
    first, second = labels(batches), labels(batches)
    assert first != second, "a new shuffle every time"
    assert order(loader(data, shuffle=False)) == list(range(COUNT))


def test_workers_change_nothing(data):
    """Order and augmentation over more than one epoch, and the next number of the global generator."""
    drawn, after = [], []
    for workers in (0, 2):
        torch.manual_seed(7)
        drawn.append(list(islice(endless(loader(data, workers)), 5)))
        after.append(torch.rand(3))
    for alone, shared in zip(*drawn, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert torch.equal(*after)


def test_the_global_generator_is_left_alone(data):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for _ in islice(endless(loader(data)), 5):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_the_global_generator_decides_nothing(data):
    torch.manual_seed(1)
    one = list(loader(data))
    torch.manual_seed(2)
    other = list(loader(data))
    assert all(torch.equal(a[0], b[0]) and a[1].tolist() == b[1].tolist() for a, b in zip(one, other, strict=True))


def test_seeds_decide_order_and_augmentation(data):
    orders = [order(loader(data, seeds=seeds)) for seeds in ((0, 0), (0, 1), (1, 0))]
    assert len(set(map(tuple, orders))) == 3
    crops = [next(iter(loader(data, seeds=seeds, shuffle=False)))[0] for seeds in ((0, 0), (0, 1), (0, 0))]
    assert not torch.equal(crops[0], crops[1]) and torch.equal(crops[0], crops[2])


def test_an_image_is_cut_anew_each_time(data):
    batches = loader(data, shuffle=False)
    one, other = list(batches), list(batches)
    assert all(a[1].tolist() == b[1].tolist() and not torch.equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_method_trains_the_same_with_and_without_workers(files, toy_domain, toy_encoder):
    stream = scenario([replace(toy_domain("files", COUNT), train=files)])
    options = Strategy.Options(iterations=4, batch_size=BATCH, warmup=1, lr=1e-3)
    losses, processes = [], []

    class Spy(Strategy):
        def before_experience(self):
            processes.append(self.dataloader.num_workers)

    for workers in (0, 2):
        strategy = Spy(encoder=toy_encoder(), options=options, workers=workers)
        strategy.train(stream.train_stream[0], eval_streams=[])
        losses.append([r["loss"] for r in strategy.history])
    assert losses[0] == losses[1] and processes == [0, 2]


def test_images_in_memory_need_no_processes(files, toy_domain):
    held = toy_domain("a").train
    assert isinstance(held, TensorImages) and in_memory(held)
    assert in_memory(Subset(Relabelled(held, {0: 1, 1: 0, 2: 2}), [0, 1]))
    assert not in_memory(files) and not in_memory(Relabelled(Subset(files, [0]), {0: 0}))


class Failing(torch.utils.data.Dataset):
    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.fail()


def missing():
    read_image("no/such.png")


def broken():
    raise ZeroDivisionError("a bug")


def test_a_mistake_told_by_a_process_is_the_sentence_that_it_was():
    with pytest.raises(UserError) as caught:
        next(iter(torch.utils.data.DataLoader(Failing(missing), num_workers=1)))
    assert "Traceback" in str(caught.value), "what torch makes of it"
    found = without_traceback(caught.value)
    assert type(found) is UserError and str(found) == "The image no/such.png is missing."
    assert without_traceback(found) is found


def test_a_bug_in_a_process_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match=r"(?s)Traceback.*a bug"):
        next(iter(torch.utils.data.DataLoader(Failing(broken), num_workers=1)))


def test_endless_starts_over_and_says_when_there_is_nothing():
    assert Counter(islice(endless("abc"), 7)) == {"a": 3, "b": 2, "c": 2}
    with pytest.raises(ValueError, match="training split is empty"):
        next(endless([]))


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_follow_each_other_without_a_restart(data, workers):
    """The batches of training are those of passes one after the other, from one iterator."""
    expected = list(islice(endless(loader(data)), 8))
    once = loader(data, workers)
    batches = Batches(once)
    found = [next(batches)]
    iterator = batches._iterator
    found += [next(batches) for _ in range(7)]
    assert batches._iterator is iterator
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    resumed = Batches(loader(data, workers))
    resumed.restore(batches.state() | {"taken": 5})
    assert all(torch.equal(a, b) for a, b in zip(next(resumed), expected[5], strict=True))
