"""Features of a task's training images: right values, and one pass through a frozen tower."""

import pytest
import torch

from models.transforms import evaluation_transform
from strategies import Strategy


def expected(encoder, dataset, indices):
    transform = evaluation_transform(encoder.preprocess)
    with torch.no_grad():
        return encoder.encode_images(torch.stack([transform(dataset[i][0]) for i in indices]))


@pytest.fixture
def made(encoder, stream, monkeypatch):
    """A strategy in its first task under a tuning, and the list of the numbers of images through its image tower."""

    def make(tuning):
        strategy, passed, encode = Strategy(encoder=encoder, tuning_name=tuning), [], encoder.clip.encode_image
        strategy.experience = stream.train_stream[0]
        monkeypatch.setattr(
            encoder.clip, "encode_image", lambda pixels, **k: (passed.append(len(pixels)), encode(pixels, **k))[1]
        )
        return strategy, passed

    return make


def test_values(made, encoder, stream):
    strategy, _ = made("full")
    train = stream.train_stream[0].domain.train
    features, labels = strategy.task_features()
    assert torch.allclose(features, expected(encoder, train, range(48)), atol=1e-6) and not features.requires_grad
    assert labels.tolist() == [i % 3 for i in range(48)]
    features, labels = strategy.task_features([7, 5, 7])
    assert torch.allclose(features, expected(encoder, train, [7, 5, 7]), atol=1e-6) and labels.tolist() == [1, 2, 1]
    features, labels = strategy.task_features([4], domain=stream.train_stream[1].domain)
    assert torch.allclose(features, expected(encoder, stream.train_stream[1].domain.train, [4]), atol=1e-6)
    with pytest.raises(ValueError, match="no training images"):
        strategy.task_features(domain=type(strategy.experience.domain)("h", ["x"], ["a {}."], None, None, train))


def test_a_frozen_tower_sees_the_images_of_the_last_task_once(made, stream):
    strategy, passed = made("text")
    first, again = strategy.task_features(), strategy.task_features()
    assert sum(passed) == 48 and torch.equal(first.features, again.features)
    assert torch.equal(strategy.task_features([7, 5]).features, first.features[[7, 5]]) and sum(passed) == 48
    strategy.encoder.touch_images()
    strategy.task_features()
    assert sum(passed) == 96
    strategy.experience = stream.train_stream[1]
    strategy.task_features()
    assert sum(passed) == 144


def test_a_tower_that_trains_sees_them_every_time(made):
    strategy, passed = made("visual")
    strategy.task_features()
    strategy.task_features()
    assert sum(passed) == 96
