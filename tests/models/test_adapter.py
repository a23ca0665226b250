"""CLIP-Adapter: its formula, its start at the initial model, and prompts that pass the tower once."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import tuning
from models.classifier import PromptClassifier
from models.registry import UserError
from models.weights import interpolate
from strategies.engine.strategy import Strategy
from strategies.wise_ft import WiSEFT

FAKES = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "towers.py"))
small, inputs, close = (FAKES[name] for name in ("small", "inputs", "close"))
KINDS = ("clip", "siglip", "coca", "eva02")
QUICK = {"iterations": 4, "lr": 1e-2, "batch_size": 8, "warmup": 1}


def features(model):
    pixels, tokens = inputs(model)
    return torch.cat([model.encode_images(pixels), model.encode_texts(tokens)])


def loss(model):
    pixels, tokens = inputs(model.train())
    logits = model.logits(model.encode_images(pixels), model.encode_texts(tokens))
    return F.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_the_mixture_by_hand(kind, monkeypatch):
    plain, model = small(kind, monkeypatch).double(), small(kind, monkeypatch).double()
    trained = tuning.apply(model, "adapter", reduction=2, ratio=0.3)
    d = model.feature_dim
    assert [tuple(p.shape) for p in trained] == [(d // 2, d), (d, d // 2)] * 2
    pixels, tokens = inputs(model)
    raw = [
        plain.clip.encode_image(plain.normalise(pixels), normalize=False),
        plain.clip.encode_text(tokens, normalize=False),
    ]
    expected = []
    for embedding, (down, up) in zip(raw, (trained[:2], trained[2:]), strict=True):
        new = (embedding @ down.T).clamp(min=0) @ up.T
        mixed = 0.3 * new.clamp(min=0) + 0.7 * embedding
        expected.append(mixed / mixed.norm(dim=1, keepdim=True))
    torch.testing.assert_close(features(model.train()), torch.cat(expected))
    torch.testing.assert_close(model.encode_texts_plain(tokens), expected[1])
    with torch.no_grad():
        torch.testing.assert_close(features(model), torch.cat(expected))


def test_the_initial_model_is_the_initial_model(kind, monkeypatch):
    """Random adapters have no effect until training uses them: the zero-shot row and teachers see only the towers."""
    plain, model = small(kind, monkeypatch), small(kind, monkeypatch)
    tuning.apply(model, "adapter")
    raw = torch.randn(5, model.feature_dim, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.image_adapter(raw), raw) and torch.equal(model.text_adapter(raw), raw)
        close(features(model), features(plain))
    theta_0 = tuning.weights(model)
    loss(model).backward()
    with torch.no_grad():
        assert not torch.allclose(features(model), features(plain), atol=1e-3)
        tuning.set_weights(model, theta_0)
        assert torch.equal(model.image_adapter(raw), raw) and torch.equal(model.text_adapter(raw), raw)
        close(features(model), features(plain))


def test_the_adapters_alone_train(kind, monkeypatch):
    model = small(kind, monkeypatch)
    # A narrow bottleneck can be dead after its ReLU from the start.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = tuning.apply(model, "adapter")
    assert tuning.trains_text(model) and not tuning.trains_text_tower(model)
    loss(model).backward()
    assert {id(p) for p in model.parameters() if p.grad is not None} == {id(p) for p in trained}
    assert all(p.grad.abs().sum() > 0 for p in trained)


def test_one_tower_only(toy_encoder):
    image, text = toy_encoder(), toy_encoder()
    assert len(tuning.apply(image, "adapter", towers="image")) == len(tuning.apply(text, "adapter", towers="text")) == 2
    assert not tuning.trains_text(image) and tuning.trains_text(text)
    assert image.text_adapter is None and text.image_adapter is None


def test_mistakes(toy_encoder):
    with pytest.raises(UserError, match=r"reduction is 33, and must be at most 32"):
        tuning.apply(toy_encoder(), "adapter", reduction=33)
    with pytest.raises(UserError, match=r"ratio must be greater than 0, got 0"):
        tuning.apply(toy_encoder(), "adapter", ratio=0)
    encoder = toy_encoder()
    tuning.apply(encoder, "adapter")
    with pytest.raises(ValueError, match="already has adapters"):
        tuning.apply(encoder, "full")


def test_a_state_dict_and_a_copy_bring_everything_back(encoder, toy_encoder):
    tuning.apply(encoder, "adapter")
    loss(encoder).backward()
    twin, other = copy.deepcopy(encoder), toy_encoder(seed=3)
    tuning.apply(other, "adapter")
    other.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert not torch.allclose(features(toy_encoder()), features(encoder), atol=1e-3)
        close(features(twin), features(encoder))
        close(features(other), features(encoder))


def test_half_way_between_start_and_trained(encoder):
    tuning.apply(encoder, "adapter", ratio=0.4)
    theta_0 = tuning.weights(encoder)
    optimizer = torch.optim.SGD(tuning.trainable(encoder), lr=1.0)
    loss(encoder).backward()
    optimizer.step()
    theta_1 = tuning.weights(encoder)
    tuning.set_weights(encoder, interpolate(theta_0, theta_1, 0.5))
    assert encoder.image_adapter.ratio.item() == pytest.approx(0.2)
    up = "image_adapter.mlp.2.weight"
    torch.testing.assert_close(encoder.state_dict()[up], (theta_0[up] + theta_1[up]) / 2)
    # Training continues from there.
    loss(encoder).backward()
    assert encoder.image_adapter.ratio.item() == pytest.approx(0.2)


@pytest.fixture
def classifier(encoder, toy_domain):
    tuning.apply(encoder, "adapter")
    result = PromptClassifier(encoder)
    for label, domain in enumerate((toy_domain("cat", 2), toy_domain("dog", 4, seed=1))):
        result.register_domain(label, domain)
    return result


def count_tower_passes(encoder, monkeypatch):
    passes = []
    raw_texts = type(encoder).raw_texts
    monkeypatch.setattr(type(encoder), "raw_texts", lambda self, t, *more: passes.append(len(t)) or raw_texts(self, t, *more))
    return passes


def test_prompts_go_through_the_tower_once(classifier, monkeypatch):
    """The heads and gradients equal those of running the tower at each step, over steps that change the adapter."""
    encoder = classifier.encoder
    passes = count_tower_passes(encoder, monkeypatch)
    direction = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(tuning.trainable(encoder), lr=0.5)
    classifier.train()
    for _ in range(3):
        head = classifier.text_features(1)
        plain = encoder.encode_texts_plain(encoder.tokenize([f"a photo of a dog {c}." for c in range(4)]))
        torch.testing.assert_close(head, plain)
        gradients = [torch.autograd.grad((h * direction).sum(), list(encoder.text_adapter.parameters())) for h in (head, plain)]
        torch.testing.assert_close(*gradients)
        for parameter, gradient in zip(encoder.text_adapter.parameters(), gradients[0], strict=True):
            parameter.grad = gradient
        optimizer.step()
        encoder.touch_text(tower=False)
    assert passes == [4]
    classifier.eval()
    with torch.no_grad():
        for _ in range(2):
            prompts = [template.format(c) for template in ("a photo of a dog {}.", "the dog {}.") for c in range(4)]
            each = [encoder.encode_texts_plain(encoder.tokenize([prompt]))[0] for prompt in prompts]
            mean = (torch.stack(each[:4]) + torch.stack(each[4:])) / 2
            torch.testing.assert_close(classifier.text_features(1), F.normalize(mean, dim=1))
            encoder.text_adapter.mlp[2].weight.mul_(-1)
            encoder.touch_text(tower=False)
    assert passes == [4, 4], "the second template once"


def test_heads_are_not_stale_after_waking_touching_or_loading(classifier, monkeypatch):
    encoder = classifier.encoder
    passes = count_tower_passes(encoder, monkeypatch)
    classifier.eval()
    tokens = encoder.tokenize(["a photo of a cat 0.", "the cat 0."])

    def check(expected_passes):
        with torch.no_grad():
            mean = encoder.encode_texts_plain(tokens).mean(dim=0)
            torch.testing.assert_close(classifier.text_features(0)[0], mean / mean.norm())
        assert len(passes) == expected_passes
        with torch.no_grad():
            return classifier.text_features(0)[0].clone()

    with torch.no_grad():
        asleep = classifier.text_features(0)[0].clone()
    check(2)
    # The first pass in training. The tower's output is still valid.
    encoder.train().finish_texts(torch.ones(1, 32))
    encoder.eval()
    awake = check(2)
    assert not torch.allclose(awake, asleep, atol=1e-4)
    check(2)
    with torch.no_grad():
        encoder.clip.text_projection.mul_(-1)
    encoder.touch_text()
    assert not torch.allclose(check(4), awake, atol=1e-3)
    theta = tuning.weights(encoder)
    theta["clip.text_projection"].mul_(-1)
    tuning.set_weights(encoder, theta)
    torch.testing.assert_close(check(6), awake)


@pytest.mark.slow
def test_training_with_the_base_strategy(toy_encoder, stream):
    """The towers stay bit-exact, row 0 is zero-shot, the loss falls, and WiSE-FT back to the start is zero-shot again."""
    # A narrow bottleneck can be dead after its ReLU from the start.
    torch.manual_seed(0)
    encoder = toy_encoder()
    strategy = Strategy(
        encoder=encoder,
        options=Strategy.Options(iterations=30, lr=1e-2, batch_size=8, warmup=1),
        tuning_name="adapter",
        tuning_options={"ratio": 0.5},
    )
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert strategy.history[-1]["loss"] < strategy.history[0]["loss"]
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"{t}_adapter.{n}" for t in ("image", "text") for n in ("ratio", "mlp.0.weight", "mlp.2.weight")}

    back = WiSEFT(encoder=toy_encoder(), options=WiSEFT.Options(**QUICK, alpha=0.0), tuning_name="adapter")
    back.train(stream.train_stream[0], eval_streams=[])
    with torch.no_grad():
        close(features(back.encoder), features(toy_encoder()))


def test_no_dead_start(encoder):
    """A final ReLU passes no gradient where all is zero, so some units of every adapter must be alive."""
    tuning.apply(encoder, "adapter")
    loss(encoder).backward()
    for adapter in (encoder.image_adapter, encoder.text_adapter):
        assert isinstance(adapter.mlp[3], nn.ReLU)
        assert (adapter.mlp[2].weight.grad != 0).any(dim=1).float().mean() > 0.3


def test_the_share_of_a_sum_of_changes_is_cut(toy_encoder):
    encoder = toy_encoder()
    tuning.apply(encoder, "adapter")
    adapter = encoder.image_adapter
    raw = torch.randn(3, 32)
    adapter.ratio = torch.tensor(7 * 0.2)
    torch.testing.assert_close(adapter(raw), 0.2 * adapter.mlp(raw) + 0.8 * raw)
    adapter.ratio = torch.tensor(0.05)
    torch.testing.assert_close(adapter(raw), 0.05 * adapter.mlp(raw) + 0.95 * raw)


def test_a_pass_in_evaluation_mode_does_not_wake_it(toy_encoder):
    """A plugin's importances record gradients after the task, too. The model must be evaluated unchanged."""
    encoder = toy_encoder().eval()
    tuning.apply(encoder, "adapter")
    pixels = torch.zeros(2, 3, 48, 48, dtype=torch.uint8)
    encoder.encode_images(pixels).sum().backward()
    assert encoder.image_adapter.ratio == 0
    encoder.train().encode_images(pixels)
    assert encoder.image_adapter.ratio == pytest.approx(0.2)
