"""Evaluation images pass through a frozen tower once, with the same bits as in a pass per evaluation."""

import pytest
import torch

from benchmarks.scenario import scenario
from models import tuning
from strategies.engine.strategy import Strategy
from strategies.paint import PaintParallel
from strategies.wise_ft import WiSEFT
from strategies.zero_shot import ZeroShot

FROZEN = ("adapter", "probe", "text")


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)], [toy_domain("h", 4, seed=2)])


def all_tests(stream):
    return [*stream.streams["test"], *stream.streams["heldout"]]


@pytest.fixture
def run(toy_encoder, stream, monkeypatch, kept_logits):
    """Rows 0, 1, 2 under a tuning: the strategy, all logits in order, and images through the tower in each evaluation."""

    def run(name, strategy_class=Strategy, eval_batch_size=10):
        torch.manual_seed(3)
        logits, encoder, passed = kept_logits(), toy_encoder(), []
        raw_images = encoder.raw_images
        monkeypatch.setattr(encoder, "raw_images", lambda pixels: (passed.append(len(pixels)), raw_images(pixels))[1])
        options = strategy_class.Options(iterations=4, lr=1e-2, batch_size=8, warmup=1)
        strategy = strategy_class(
            encoder=encoder, options=options, tuning_name=name, plugins=[logits], eval_batch_size=eval_batch_size
        )
        images = []

        def evaluate():
            passed.clear()
            strategy.eval(all_tests(stream))
            images.append(sum(passed))

        evaluate()
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
            evaluate()
        return strategy, logits.seen, images, evaluate

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", FROZEN)
def test_once_through_the_tower_and_the_same_bits(run, name, monkeypatch):
    _, kept, images, _ = run(name)
    assert images == [72, 0, 0]
    monkeypatch.setattr(tuning, "trains_images", lambda encoder: True)
    _, plain, images, _ = run(name)
    assert images == [72, 72, 72]
    assert len(kept) == len(plain) == 27 and all(map(torch.equal, kept, plain))
    assert not torch.equal(kept[0], kept[9])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "visual", "lora", "attention", "bitfit"])
def test_a_tower_that_trains_is_passed_every_time(run, name):
    assert run(name)[2] == [72, 72, 72]


def test_without_training_the_images_pass_once(run):
    assert run("full", ZeroShot)[2] == [72, 0, 0]


@pytest.mark.slow
def test_weights_set_in_between_are_seen(run):
    strategy, logits, images, evaluate = run("adapter")
    theta = strategy.weights()
    before = logits[-9:]
    name = next(n for n in theta if n.endswith("visual.proj"))
    strategy.set_weights({**theta, name: theta[name] + 0.1})
    evaluate()
    assert images[-1] == 72 and not torch.equal(logits[-9], before[0])
    strategy.set_weights(theta)
    evaluate()
    assert images[-1] == 72 and all(map(torch.equal, logits[-9:], before))
    evaluate()
    assert images[-1] == 0


@pytest.mark.slow
def test_a_state_dict_or_a_touch_lets_images_pass_again(run):
    strategy, _, images, evaluate = run("adapter")
    strategy.encoder.load_state_dict(strategy.encoder.state_dict())
    evaluate()
    strategy.encoder.touch()
    evaluate()
    assert images[-2:] == [72, 72]


@pytest.mark.slow
def test_an_evaluation_cut_short_leaves_nothing_behind(run, stream, monkeypatch):
    strategy, logits, images, evaluate = run("adapter")
    before = logits[-9:]
    strategy.encoder.touch()
    finish = strategy.encoder.finish_images
    monkeypatch.setattr(strategy.encoder, "finish_images", lambda raw: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        strategy.eval(all_tests(stream))
    monkeypatch.setattr(strategy.encoder, "finish_images", finish)
    evaluate()
    assert images[-1] == 72 and all(map(torch.equal, logits[-9:], before))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapter", "text"])
@pytest.mark.parametrize("method", [WiSEFT, PaintParallel])
def test_arithmetic_that_leaves_the_image_tower_as_it_is(run, name, method):
    """Weights are set after every task, and the image tower gets the same values again."""
    assert run(name, method)[2][1:] == [0, 0]


@pytest.mark.parametrize("name", ["visual", "adapter", "probe"])
def test_a_frozen_text_tower_runs_once_a_task_and_template(toy_encoder, stream, monkeypatch, name):
    encoder, encoded = toy_encoder(), []
    raw_texts = encoder.raw_texts
    monkeypatch.setattr(encoder, "raw_texts", lambda tokens, *more: (encoded.append(len(tokens)), raw_texts(tokens, *more))[1])
    options = Strategy.Options(iterations=3, lr=1e-2, batch_size=8, warmup=1)
    strategy = Strategy(encoder=encoder, options=options, tuning_name=name)
    strategy.eval(all_tests(stream))
    assert sum(encoded) == 2 * (3 + 5 + 4), "two templates of every class"
    encoded.clear()
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(all_tests(stream))
    # Training uses a separate head of only the first template. An adapter makes it from kept tower features. A probe's heads
    # start from the ensemble.
    assert sum(encoded) == {"visual": 3 + 5, "adapter": 0, "probe": 0}[name]
    strategy.encoder.touch()
    strategy.eval(all_tests(stream)[2:])
    assert encoded[-2:] == [4, 4]


def test_set_weights_tells_the_caches_of_what_moves(toy_encoder):
    encoder = toy_encoder()
    tuning.apply(encoder, "full")
    theta = tuning.weights(encoder)

    def versions():
        return encoder.image_version, encoder.text_tower_version, encoder.text_version

    for part, moves in (("visual.", (1, 0, 0)), ("transformer.", (0, 1, 1)), ("logit_scale", (0, 0, 0))):
        changed = {n: t + 0.1 if n.startswith(f"clip.{part}") and t.is_floating_point() else t for n, t in theta.items()}
        before = versions()
        tuning.set_weights(encoder, changed)
        assert tuple(after - b for after, b in zip(versions(), before, strict=True)) == moves
        tuning.set_weights(encoder, theta)
    before = versions()
    tuning.set_weights(encoder, theta)
    assert versions() == before
