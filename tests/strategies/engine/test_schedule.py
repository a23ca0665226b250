"""The learning rate by independent formulas, budgets, and seeds of experiences."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from strategies.engine.schedule import budget, learning_rate, seed_everything
from strategies.engine.strategy import Strategy


def raised_cosine(fraction):
    """(1 + cos(pi x)) / 2 as cos^2(pi x / 2), from its half angle."""
    return np.cos(np.pi / 2 * float(fraction)) ** 2


@pytest.mark.parametrize(("iterations", "warmup"), [(1001, 100), (80, 30), (40, 4), (5, 0), (3, 1), (2, 0)])
def test_every_rate(iterations, warmup):
    rates = [learning_rate(t, 3e-4, iterations, warmup) for t in range(iterations)]
    assert rates[:warmup] == pytest.approx([3e-4 * (t + 1) / warmup for t in range(warmup)])
    falling = [3e-4 * raised_cosine(Fraction(t, iterations - 1 - warmup)) for t in range(iterations - warmup)]
    assert rates[warmup:] == pytest.approx(falling, abs=1e-12)
    assert rates[-1] == 0 and max(rates) == pytest.approx(3e-4)
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_a_warm_up_of_all_updates_but_the_last():
    """31 updates of which 30 are warm-up: only the end of the cosine is left."""
    assert [learning_rate(t, 1.0, 31, 30) for t in (0, 29, 30)] == pytest.approx([1 / 30, 1.0, 0.0])


def test_a_warm_up_longer_than_the_budget_never_ends():
    # CIFAR-100 in 50 steps: 1,000 images a step, so 17 updates.
    assert max(learning_rate(t, 7.1e-6, 17, 30) for t in range(17)) == pytest.approx(7.1e-6 * 17 / 30)


def test_a_constant_rate_follows_the_warm_up():
    assert [learning_rate(t, 2.0, 5, 2, "constant") for t in range(5)] == [1.0, 2.0, 2.0, 2.0, 2.0]
    assert learning_rate(0, 2.0, 1, 0, "constant") == 2.0
    # Without an update of rate 0, three passes over 65 images in batches of 64 are six updates.
    assert budget(Strategy.Options(epochs=3, batch_size=64, schedule="constant"), 65) == 6


def test_a_single_update_counts():
    assert learning_rate(0, 2.0, 1, 0) == 2.0 and learning_rate(0, 2.0, 1, 4) == 0.5


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs", "updates"),
    [
        (5000, 64, 1, 80),
        (1000, 64, 1, 17),
        (128, 64, 1, 3),
        (129, 64, 1, 4),
        (1, 64, 1, 2),
        (13000, 128, 1, 103),
        (65, 64, 3, 7),
    ],
)
def test_epochs_and_one_update_more(images, batch_size, epochs, updates):
    assert budget(Strategy.Options(epochs=epochs, batch_size=batch_size), images) == updates


def test_without_epochs_the_images_do_not_matter():
    assert budget(Strategy.Options(), 50) == budget(Strategy.Options(), 50_000) == 1001


def test_a_run_follows_the_schedule(encoder, toy_domain):
    """20 images in batches of 8: 3 updates and one more, the last at rate 0, and a separate rate for a named task."""
    from benchmarks.scenario import scenario

    stream = scenario([toy_domain("red", train=20), toy_domain("blue", seed=1, train=20)])
    options = Strategy.Options(epochs=1, batch_size=8, warmup=2, lr=1e-3, lr_by_task={"blue": 4e-3})
    strategy = Strategy(encoder=encoder, options=options)
    for experience, peak in zip(stream.train_stream, (1e-3, 4e-3), strict=True):
        strategy.train(experience, eval_streams=[])
        assert [r["lr"] for r in strategy.history] == pytest.approx([peak / 2, peak, peak, 0])
        assert strategy.images_seen == 8 + 8 + 4 + 8


def test_seeds_are_of_a_run_and_its_experience():
    def draws(seed, experience):
        seed_everything(seed, experience)
        return random.random(), np.random.rand(), float(torch.rand(1))

    assert draws(0, 1) == draws(0, 1)
    each = [draws(*pair) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(len(set(column)) == 4 for column in zip(*each, strict=True))
