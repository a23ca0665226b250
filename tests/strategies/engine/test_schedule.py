"""The learning rate by independent formulas, budgets, and seeds of experiences."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from strategies.engine.schedule import budget, learning_rate, one_cycle, scheduled_rate, seed_everything, stage_of
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


@pytest.mark.parametrize(("iterations", "rise"), [(100, 0.3), (37, 0.25), (10, 0.2), (4, 0.9)])
def test_one_cycle_is_torchs(iterations, rise):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=iterations, pct_start=rise)
    expected = []
    for _ in range(iterations):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < iterations:
            torchs.step()
    options = Strategy.Options(schedule="one-cycle", cycle_rise=rise)
    assert [scheduled_rate(t, 0.02, iterations, options) for t in range(iterations)] == pytest.approx(expected, rel=1e-9)


def test_one_cycle_of_few_updates():
    assert one_cycle(0, 2.0, 1) == 2.0
    assert [one_cycle(t, 2.0, 2, 0.5) for t in (0, 1)] == pytest.approx([2.0, 2.0 / 25e4])


def test_a_rate_in_steps():
    options = Strategy.Options(schedule="step", step_at=(0.25, 0.75), step_factor=0.5, warmup=1)
    assert [scheduled_rate(t, 8.0, 8, options) for t in range(8)] == [8.0, 8.0, 4.0, 4.0, 4.0, 4.0, 2.0, 2.0]
    # RAPF: fifteen passes, a tenth after the fourth and the tenth.
    passes = Strategy.Options(schedule="step", step_at=(4 / 15, 10 / 15), warmup=0)
    rates = [scheduled_rate(t, 1.0, 45, passes) for t in range(45)]
    assert rates == pytest.approx([1.0] * 12 + [0.1] * 18 + [0.01] * 15)
    assert budget(Strategy.Options(epochs=3, batch_size=64, schedule="step", step_at=(0.5,)), 65) == 6


def test_stages_by_hand():
    assert [stage_of(t, 6, (0.5,)).number for t in range(6)] == [0, 0, 0, 1, 1, 1]
    assert stage_of(7, 10, (0.2, 0.7)) == (2, 7, 10) and stage_of(6, 10, (0.2, 0.7)) == (1, 2, 7)
    assert stage_of(3, 4) == (0, 0, 4)


def test_each_stage_has_a_schedule_and_a_new_optimiser_state(encoder, toy_domain):
    from benchmarks.scenario import scenario

    begun = []

    class Staged(Strategy):
        def begin_stage(self, stage):
            super().begin_stage(stage)
            begun.append((stage, self.stage, len(self.history), len(self.optimizer.state)))

        def compute_loss(self, batch):
            self.log(stage=self.stage)
            return super().compute_loss(batch)

    options = Staged.Options(iterations=7, batch_size=8, warmup=1, lr=1e-3, stage_at=(0.4,))
    strategy = Staged(encoder=encoder, options=options)
    strategy.train(scenario([toy_domain("red", train=20)]).train_stream[0], eval_streams=[])
    assert begun == [(0, 0, 0, 0), (1, 1, 3, 0)]
    assert [r["stage"] for r in strategy.history] == [0, 0, 0, 1, 1, 1, 1]
    assert [r["lr"] for r in strategy.history] == pytest.approx([1e-3, 1e-3, 0, 1e-3, 1e-3, 5e-4, 0])
    steps = {int(state["step"]) for state in strategy.optimizer.state.values()}
    assert steps == {4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "step"}, "schedule=step needs step_at"),
        ({"step_at": (0.7, 0.3)}, "step_at must be increasing numbers between 0 and 1, got 0.7, 0.3"),
        ({"stage_at": (0.0,)}, "stage_at must be increasing"),
        ({"lr_by_role": {"tower": 1.0}}, "lr_by_role has the roles image, text, scale, added, got tower"),
        ({"lr_by_role": {"text": -1.0}}, "lr_by_role.text must be at least 0"),
    ],
)
def test_options_of_schedules_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Strategy.Options(**options)


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
