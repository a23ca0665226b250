"""Replayed passes of a tower, with a recorder that repeats the work on a CPU instead of a CUDA graph."""

import copy
import pickle
import runpy
from pathlib import Path

import pytest
import torch

from models import tuning
from models.graphs import REPEATS, TowerGraphs

FAKES = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "recorders.py"))


class Repeats(FAKES["Repeats"]):
    """Counts the recorders that are made. A class of this module can be pickled."""

    made = 0

    def __init__(self):
        type(self).made += 1


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(Repeats, "made", 0)
    return Repeats


@pytest.fixture
def pair(toy_encoder, recorder):
    """Two equal encoders, the second of which replays its passes."""
    plain, graphed = toy_encoder().train(), toy_encoder().train()
    for each in (plain, graphed):
        tuning.apply(each, "full")
    graphed.graphs = TowerGraphs(recorder)
    return plain, graphed


def pixels(seed=0, count=4):
    return torch.randint(0, 256, (count, 3, 48, 48), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def train(encoder, steps, names=("a cat", "two dogs"), count=4, lr=0.1):
    """Return the losses of some steps of SGD on a batch that changes."""
    optimizer, losses = torch.optim.SGD(tuning.trainable(encoder), lr=lr), []
    tokens = encoder.tokenize(names)
    for step in range(steps):
        optimizer.zero_grad()
        logits = encoder.logits(encoder.encode_images(pixels(step, count)), encoder.encode_texts(tokens))
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(count) % len(names))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_training_is_bit_exact_and_both_towers_are_replayed(pair):
    plain, graphed = pair
    assert train(plain, 8) == train(graphed, 8)
    assert same_weights(plain, graphed)
    assert graphed.graphs.replayed == {"image": 8 - REPEATS, "text": 8 - REPEATS} and Repeats.made == 2


def test_bf16_is_bit_exact_too(pair):
    plain, graphed = pair
    for each in pair:
        each.precision = "bf16"
    assert train(plain, 6) == train(graphed, 6) and graphed.graphs.replayed["image"] == 6 - REPEATS
    assert same_weights(plain, graphed)


def test_a_smaller_batch_runs_as_usual_and_does_not_end_the_recording(pair):
    _, graphed = pair
    losses = [train(each, 5) + train(each, 1, count=3) + train(each, 2) for each in pair]
    assert losses[0] == losses[1]
    assert graphed.graphs.replayed["image"] == 5 - REPEATS + 2 and Repeats.made == 2


def test_another_shape_that_stays_is_recorded_again(pair):
    losses = [train(each, 5) + train(each, 6, count=6, names=["one", "two", "three"]) for each in pair]
    assert losses[0] == losses[1] and Repeats.made == 4


def test_other_weights_in_place_and_in_other_memory(pair):
    plain, graphed = pair
    train(plain, 5), train(graphed, 5)
    theta = {name: 0.5 * tensor for name, tensor in tuning.weights(plain).items()}
    for each in pair:
        tuning.set_weights(each, theta)
    assert train(plain, 2) == train(graphed, 2) and Repeats.made == 2
    for each in pair:
        weight = each.clip.visual.transformer.resblocks[0].ln_1.weight
        weight.data = 2 * weight.data
    assert train(plain, REPEATS + 2) == train(graphed, REPEATS + 2) and Repeats.made == 3
    assert same_weights(plain, graphed)


def test_what_trains_may_change(pair):
    _, graphed = pair
    losses = []
    for each in pair:
        losses.append(train(each, 5))
        each.zero_grad()
        each.clip.visual.requires_grad_(False)
        losses[-1] += train(each, 5)
        assert all(p.grad is None for p in each.clip.visual.parameters())
    assert losses[0] == losses[1]
    assert graphed.graphs.replayed["image"] == 5 - REPEATS


def test_gradients_accumulate_without_zeroing(pair):
    gradients = []
    for each in pair:
        train(each, 5, lr=0.0)
        each.zero_grad()
        for step in range(3):
            each.encode_images(pixels(step)).square().sum().backward(torch.tensor(float(step + 1)))
        gradients.append([p.grad.clone() for p in each.clip.visual.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_second_pass_before_the_backward_pass_is_not_replayed(pair):
    """Its activations would overwrite those of the first. Outputs of earlier passes stay as they were."""
    results = []
    for each in pair:
        train(each, 5, lr=0.0)
        each.zero_grad()
        first, second = each.encode_images(pixels(0)), each.encode_images(pixels(1))
        kept = first.detach().clone()
        (first[:, 0] + 2 * second[:, 1]).sum().backward()
        later = each.encode_images(pixels(2))
        assert torch.equal(first, kept) and not torch.equal(later, first)
        results.append([p.grad.clone() for p in each.clip.visual.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    _, graphed = pair
    assert graphed.graphs.replayed["image"] == 5 - REPEATS + 2


def test_a_pass_whose_result_is_dropped_does_not_block_the_next(pair):
    _, graphed = pair
    train(graphed, 5)
    before = graphed.graphs.replayed["image"]
    for _ in range(3):
        graphed.encode_images(pixels())
    assert graphed.graphs.replayed["image"] == before + 3


def test_a_second_backward_pass_runs_as_usual_and_ends_the_replays(pair):
    gradients = []
    for each in pair:
        train(each, 5)
        features = each.encode_images(pixels())
        first = torch.autograd.grad(features[:, 0].sum(), tuning.trainable(each), retain_graph=True, allow_unused=True)
        second = torch.autograd.grad(features[:, 1].sum(), tuning.trainable(each), allow_unused=True)
        gradients.append([gradient for gradient in (*first, *second) if gradient is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    plain, graphed = pair
    before = graphed.graphs.replayed["image"]
    assert train(plain, 6) == train(graphed, 6) and same_weights(plain, graphed)
    assert graphed.graphs.replayed["image"] == before and graphed.graphs.replayed["text"] > before - 1


def test_a_second_backward_pass_after_a_change_of_a_weight_is_an_error(pair):
    _, graphed = pair
    train(graphed, 5)
    loss = graphed.encode_images(pixels())[:, 0].sum()
    loss.backward(retain_graph=True)
    with torch.no_grad():
        graphed.clip.visual.conv1.weight.add_(1)
    with pytest.raises(RuntimeError, match="weight was changed"):
        loss.backward()


@pytest.mark.parametrize("kind", ["no gradient", "inference", "autocast", "frozen", "hook", "tensor hook", "microbatch"])
def test_what_is_never_replayed(pair, kind):
    plain, graphed = pair
    train(plain, 5), train(graphed, 5)
    before, seen = dict(graphed.graphs.replayed), []
    results = []
    for each in pair:
        block = each.clip.visual.transformer.resblocks[1]
        if kind == "frozen":
            each.requires_grad_(False)
        if kind == "hook":
            block.register_forward_hook(lambda *_: seen.append(1))
        if kind == "tensor hook":
            block.ln_1.weight.register_hook(lambda gradient: seen.append(1))
        if kind == "microbatch":
            each.microbatch = 2
        context = {"no gradient": torch.no_grad(), "inference": torch.inference_mode()}.get(kind)
        with context or torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
            results.append(each.encode_images(pixels()))
        if kind == "tensor hook":
            results[-1].sum().backward()
    assert graphed.graphs.replayed == before and torch.equal(*results)
    assert len(seen) == (2 if "hook" in kind else 0)


@pytest.mark.parametrize(("name", "replays"), [("lora", True), ("bitfit", True), ("added", False)])
def test_tunings(toy_encoder, recorder, name, replays):
    """LoRA's matrices are parameters of the tower. Modules that are added to it depend on more than their input."""
    both = [toy_encoder().train() for _ in range(2)]
    for each in both:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tuning.apply(each, "full" if name == "added" else name)
        if name == "added":
            each.added["image"] = torch.nn.Identity()
    both[1].graphs = TowerGraphs(recorder)
    assert train(both[0], 6) == train(both[1], 6) and same_weights(*both)
    assert both[1].graphs.replayed == ({"image": 6 - REPEATS, "text": 6 - REPEATS} if replays else {})


def test_a_recording_that_fails_leaves_every_pass_as_usual(pair, toy_encoder):
    plain, graphed = pair

    class Fails(Repeats):
        def record(self, work):
            raise torch.OutOfMemoryError("no memory\nmore")

    graphed.graphs = TowerGraphs(Fails)
    assert train(plain, 6) == train(graphed, 6)
    assert graphed.graphs.failure == "OutOfMemoryError: no memory" and not graphed.graphs.replayed


def test_copies_and_released_encoders_start_without_recordings(pair):
    plain, graphed = pair
    train(plain, 5), train(graphed, 5)
    for copied in (copy.deepcopy(graphed), pickle.loads(pickle.dumps(graphed))):
        assert isinstance(copied.graphs, TowerGraphs) and not copied.graphs.replayed
    graphed.graphs.release()
    assert train(plain, 5) == train(graphed, 5)
    assert Repeats.made == 4
