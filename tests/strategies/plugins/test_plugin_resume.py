"""Avalanche's plugins in a run that was killed: their state is restored bit-exactly."""

import runpy
from pathlib import Path

import pytest
import torch

from benchmarks.scenario import scenario
from harness.run import checkpoint
from strategies.engine.strategy import Strategy
from strategies.plugins import built_in as plugins

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "plugins.py"))
make, named, build, train = (FAKES[name] for name in ("make", "named", "build", "train"))


@pytest.fixture
def stream(toy_domain):
    sizes = (("a", 3), ("b", 5), ("c", 4))
    return scenario([toy_domain(name, classes, seed=i, train=14) for i, (name, classes) in enumerate(sizes)])


RESUMED = [
    (["ewc"], {}, None),
    (["ewc"], {"mode": "online"}, "lora"),
    (["si"], {}, None),
    (["mas"], {}, "visual"),
    (["replay"], {}, None),
    (["lwf"], {}, None),
    (["ewc", "replay", "lwf"], {}, "bitfit"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("names", "options", "tuning"), RESUMED)
def test_a_resumed_run_is_the_uninterrupted_one(toy_encoder, stream, tmp_path, names, options, tuning, same):
    first, second, third = stream.train_stream
    fresh = lambda: [make(name, **options) for name in names]  # noqa: E731
    whole = build(Strategy, toy_encoder(), attached := fresh(), tuning=tuning)
    train(whole, [first, second])
    saved = {name: plugins.state(plugin) for name, plugin in zip(names, attached, strict=True)}
    checkpoint.save_state(tmp_path, 2, dict(whole.encoder.state_dict()), {"plugins": saved})
    whole.eval(stream.test_stream)
    train(whole, [third])

    torch.rand(5)
    resumed = build(Strategy, toy_encoder(), loaded := fresh(), tuning=tuning)
    resumed.prepare_run()
    weights, state = checkpoint.load_state(tmp_path, 2)
    resumed.encoder.load_state_dict(weights)
    for name, plugin in zip(names, loaded, strict=True):
        plugins.load_state(plugin, state["plugins"][name], resumed, [first, second])
    train(resumed, [third])
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict())
    assert whole.history == resumed.history
    for name, one, other in zip(names, attached, loaded, strict=True):
        checkpoint.save_state(tmp_path / "one", 3, {}, plugins.state(one))
        checkpoint.save_state(tmp_path / "other", 3, {}, plugins.state(other))
        files = [
            (tmp_path / w / "after-3" / f"strategy.{k}").read_bytes() for w in ("one", "other") for k in ("safetensors", "json")
        ]
        assert files[:2] == files[2:], name


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins.PLUGINS)
def test_a_run_that_was_killed_before_its_first_task(toy_encoder, stream, name, same):
    start = make(name)
    plugins.load_state(start, plugins.state(make(name)), build(Strategy, toy_encoder(), [start]), [])
    other = build(Strategy, toy_encoder(), [start])
    plain = build(Strategy, toy_encoder(), [make(name)])
    for strategy in (other, plain):
        train(strategy, stream.train_stream[:2])
    assert same(named(other), named(plain))
