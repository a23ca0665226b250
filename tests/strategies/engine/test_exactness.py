"""`exactness`: the shortcuts of a step against the papers' computation, which repeats everything in each step."""

import pytest
import torch

from benchmarks.scenario import scenario
from models.encoder import DualEncoder
from strategies import STRATEGIES
from strategies.l2 import squared_distance
from strategies.zscl import PulledAverage

STEPS = 20
QUICK = {"iterations": STEPS, "lr": 1e-3, "batch_size": 8, "warmup": 2}
CHOICES = {
    "zscl": {"average_every": 5, "reference_batch": 6},
    "zscl-star": {"feature_mse": 1.0, "image_image": 1.0, "reference_batch": 6},
    "lwf": {},
    "icarl": {"memory": 12, "teacher": "previous"},
    "l2": {},
    "finetune": {},
}


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)])


def method(name):
    return STRATEGIES.get(name)


@pytest.fixture
def both(toy_encoder, stream, trained, reference):
    """The same two tasks with and without the shortcuts."""

    def train(name, dtype, **changes):
        needed = reference if method(name).needs_reference else None
        tasks, options = list(stream.train_stream), CHOICES[name] | changes
        return [
            trained(method(name), toy_encoder().to(dtype), tasks, needed, **options, exactness=way) for way in ("fast", "plain")
        ]

    return train


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_the_losses_are_the_same(name, both):
    fast, plain = both(name, torch.float32, lr=1e-4)
    assert len(fast.losses) == 2 * STEPS and len(set(fast.losses)) > STEPS
    torch.testing.assert_close(torch.tensor(fast.losses), torch.tensor(plain.losses), rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHOICES if name != "l2"])
def test_the_weights_are_the_same(name, both):
    """In float64 and without L2.

    The gradients of the keys' biases are zero up to rounding, of which AdamW makes full steps. L2 would feed them back.
    """
    fast, plain = both(name, torch.float64, **({"l2": 0.0} if name == "zscl" else {}))
    losses = [torch.tensor(each.losses, dtype=torch.float64) for each in (fast, plain)]
    torch.testing.assert_close(*losses, rtol=1e-9, atol=0)
    for one, other in zip(fast.encoder.state_dict().values(), plain.encoder.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_what_plain_computes_in_each_step(toy_encoder, stream, trained, reference, monkeypatch):
    """Teacher and student see the reference images in a separate pass, and all sentences at the full context."""
    seen = {"images": [], "texts": []}
    for kind, name in (("images", "raw_images"), ("texts", "raw_texts")):
        original = getattr(DualEncoder, name)

        def counted(encoder, given, *length, kind=kind, original=original):
            seen[kind].append(len(given))
            return original(encoder, given, *length)

        monkeypatch.setattr(DualEncoder, name, counted)
    cut = []
    original_cut = DualEncoder._encode_cut
    monkeypatch.setattr(DualEncoder, "_encode_cut", lambda encoder, tokens: cut.append(1) or original_cut(encoder, tokens))

    first, sentences, images = stream.train_stream[:1], len(reference.sentences), len(reference.images)
    options = {"reference_batch": 6, "iterations": 4}
    trained(method("zscl"), toy_encoder(), first, reference, **options, exactness="plain")
    assert seen == {"images": [8, 6, 6] * 4, "texts": [3, sentences] * 4} and not cut
    seen["images"].clear()
    seen["texts"].clear()
    trained(method("zscl"), toy_encoder(), first, reference, **options)
    assert seen == {"images": [images, *[8 + 6] * 4], "texts": [sentences, *[3] * 4]} and cut


def test_loops_over_tensors():
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)] for _ in range(2))
    torch.testing.assert_close(squared_distance(a, b, foreach=False), squared_distance(a, b))
    states = [{"w": torch.randn(7, generator=generator), "n": torch.tensor(i)} for i in range(4)]
    averages = [PulledAverage(states[0], 0.9, foreach=foreach) for foreach in (True, False)]
    for average in averages:
        for state in states[1:]:
            average.update(state)
    one, other = (average.state_dict() for average in averages)
    torch.testing.assert_close(one["w"], other["w"])
    assert int(other["n"]) == 3
