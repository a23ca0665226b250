"""Any module with two encode methods as an encoder: features, towers, training, and every mistake in one sentence."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from benchmarks.scenario import scenario
from metrics.evaluate import evaluate
from models import tuning
from models.blocks import blocks
from models.registry import UserError
from models.towers import tower_of
from models.transforms import Preprocess
from strategies import Strategy
from strategies.zscl import ZSCL

QUICK = {"iterations": 4, "lr": 1e-2, "batch_size": 8, "warmup": 0}
COLOURS = {"mean": [0.5] * 3, "std": [0.25] * 3}


class Core(nn.Module):
    """Both towers in one submodule, as a wrapper around another library's model has them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 12, stride=12)
        self.words = nn.Embedding(300, 10)
        self.register_buffer("offset", torch.full((10,), 0.5))


class Own(nn.Module):
    """Convolution and mean; mean of token embeddings. Two parameters and a buffer lie next to the submodules."""

    def __init__(self):
        super().__init__()
        self.core = Core()
        self.image_projection = nn.Parameter(torch.randn(12, 8))
        self.text_projection = nn.Linear(10, 8)
        self.caption_head = nn.Linear(10, 300)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def image_features(self, pixels):
        return self.core.patches(pixels).mean((2, 3)) @ self.image_projection

    def text_features(self, tokens):
        return self.text_projection((self.core.words(tokens) + self.core.offset).mean(1))


METHODS = {"encode_image": "image_features", "encode_text": "text_features"}


@pytest.fixture
def own():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Own()


@pytest.fixture
def tokenizer(encoder):
    return encoder._tokenizer


@pytest.fixture
def wrapped(own, tokenizer):
    return models.wrap(own, tokenizer=tokenizer, image_size=48, **COLOURS, **METHODS, resize_mode="squash")


def pictures(n=5):
    return torch.randint(0, 256, (n, 3, 48, 48), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_features_are_those_of_the_module(own, wrapped, tokenizer):
    tokens = wrapped.tokenize(["a cat", "two dogs"])
    images = F.normalize(own.image_features((pictures() / 255 - 0.5) / 0.25), dim=-1)
    texts = F.normalize(own.text_features(tokens), dim=-1)
    torch.testing.assert_close(wrapped.encode_images(pictures()), images)
    torch.testing.assert_close(wrapped.encode_texts(tokens), texts)
    logits = wrapped.logits(images, texts)
    torch.testing.assert_close(logits, torch.exp(torch.tensor(2.0)) * images @ texts.T)
    assert wrapped.feature_dim == 8 and wrapped.context_length == 32 and wrapped.name == "Own"
    assert wrapped.preprocess == Preprocess(48, "squash") and not wrapped.training


def test_every_parameter_is_in_the_tower_that_uses_it_and_has_one_name(own, wrapped):
    towers = {name.rpartition("parts.")[2]: tower_of(name) for name, _ in wrapped.clip.named_parameters()}
    assert towers == {
        "core__patches.weight": "image",
        "core__patches.bias": "image",
        "image_projection": "image",
        "core__words.weight": "text",
        "text_projection.weight": "text",
        "text_projection.bias": "text",
        "caption_head.weight": "unused",
        "caption_head.bias": "unused",
        "logit_scale": "scale",
    }
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in own.parameters()}, "no copies"
    assert len(wrapped.state_dict()) == len(own.state_dict())


def test_a_copy_is_another_model_and_moved_tensors_stay_the_modules(own, wrapped, same):
    teacher = copy.deepcopy(wrapped)
    before = wrapped.encode_images(pictures())
    with torch.no_grad():
        own.image_projection.add_(1.0)
        own.core.offset.add_(1.0)
    assert torch.equal(teacher.encode_images(pictures()), before)
    assert not torch.allclose(wrapped.encode_images(pictures()), before)
    teacher.load_state_dict(wrapped.state_dict())
    assert torch.equal(teacher.encode_images(pictures()), wrapped.encode_images(pictures()))
    wrapped.double()
    assert own.core.offset.dtype == own.image_projection.dtype == torch.float64, "torch replaces buffers"
    wrapped.encode_texts(wrapped.tokenize(["a"]))
    wrapped.train()
    assert own.training and own.core.training


@pytest.mark.parametrize("method", [Strategy, ZSCL])
def test_strategies_train_both_towers(method, own, wrapped, trained, toy_domain, reference):
    tasks = scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)], encoder=wrapped)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    zero_shot = wrapped.encode_images(pictures())
    strategy = trained(method, wrapped, tasks.train_stream, reference=reference)
    after = own.state_dict()
    for name in ("core.patches.weight", "image_projection", "core.words.weight", "text_projection.bias"):
        assert not torch.equal(after[name], before[name]), name
    for name in ("caption_head.weight", "core.offset", "logit_scale"):
        assert torch.equal(after[name], before[name]), name
    assert len(strategy.losses) == 8 and not torch.allclose(wrapped.encode_images(pictures()), zero_shot)
    domain = tasks.test_stream[1].domain
    result = evaluate(strategy.classifier, domain)
    with torch.no_grad():
        prompts = [[template.format(name) for template in domain.templates] for name in domain.classnames]
        heads = torch.stack([wrapped.encode_texts(wrapped.tokenize(texts)).mean(0) for texts in prompts])
        scores = wrapped.encode_images(torch.stack([image for image, _ in domain.test])) @ F.normalize(heads, dim=-1).T
    labels = torch.tensor([label for _, label in domain.test])
    assert (result.correct, result.n) == (int((scores.argmax(1) == labels).sum()), 24)


@pytest.mark.parametrize("name", ["visual", "text", "adapter", "probe", "frozen"])
def test_tunings_that_need_no_blocks(name, wrapped):
    parameters = tuning.apply(wrapped, name)
    towers = {tower_of(path) for path, p in wrapped.clip.named_parameters() if p.requires_grad}
    assert towers == {"visual": {"image"}, "text": {"text"}}.get(name, set()) and bool(parameters) == (
        name not in ("probe", "frozen")
    )


@pytest.mark.parametrize("name", ["bitfit", "attention", "lora"])
def test_tunings_of_blocks_refuse_a_module_without_them(name, wrapped):
    with pytest.raises(UserError, match=r"The image tower of Own has no residual attention blocks of a known class\."):
        tuning.apply(wrapped, name)


def test_tunings_of_blocks_work_in_a_module_that_has_open_clips(encoder, tokenizer):
    class Holder(nn.Module):
        def __init__(self, clip):
            super().__init__()
            self.inner = clip

        def encode_image(self, pixels):
            return self.inner.encode_image(pixels)

        def encode_text(self, tokens):
            return self.inner.encode_text(tokens)

    wrapped = models.wrap(Holder(encoder.clip), tokenizer=tokenizer, image_size=48, **COLOURS, scale=50.0)
    assert wrapped.clip.logit_scale.exp().item() == pytest.approx(50)
    assert len(blocks(wrapped)) == 4
    assert sum(p.numel() for p in tuning.apply(wrapped, "lora", rank=2)) == 2 * 4 * 2 * (32 + 32)
    tokens = wrapped.tokenize(["a cat"])
    torch.testing.assert_close(wrapped.encode_texts(tokens), encoder.encode_texts(tokens))


class Shared(Own):
    def text_features(self, tokens):
        return super().text_features(tokens) @ self.image_projection.T @ self.image_projection


class Frozen(Own):
    @torch.no_grad()
    def image_features(self, pixels):
        return super().image_features(pixels)


class Wider(Own):
    def image_features(self, pixels):
        return super().image_features(pixels).repeat(1, 2)


class Pairs(Own):
    def image_features(self, pixels):
        return super().image_features(pixels), None


class Tied(Own):
    def __init__(self):
        super().__init__()
        self.caption_head.weight = self.core.words.weight


class Unscaled(Own):
    def __init__(self):
        super().__init__()
        del self.logit_scale


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (Own, {"encode_image": "forward_images"}, "Own has no method 'forward_images'; name its encode methods"),
        (Own, {"image_size": 5}, r"Own\.image_features fails on inputs of the shape \[2, 3, 5, 5\]: RuntimeError: "),
        (Shared, {}, "The parameter 'image_projection' of Shared is used by both encode methods"),
        (Frozen, {}, r"Frozen\.image_features computes without gradients"),
        (Wider, {}, "image features of the width 16 and text features of the width 8"),
        (Pairs, {}, r"Pairs\.image_features returns a tuple for two inputs"),
        (Tied, {}, r"Tied has one parameter under two names, 'core\.words\.weight' and 'caption_head\.weight'"),
        (Unscaled, {}, "Unscaled has no parameter logit_scale: give the factor"),
        (Own, {"scale": -1.0}, "scale is -1.0, and must be above 0"),
        (Own, {"image_size": "48"}, "image_size is '48', and must be the side"),
        (Own, {"std": [0.0] * 3}, r"std is \[0\.0, 0\.0, 0\.0\], and must be three numbers above 0"),
        (Own, {"mean": [0.5]}, "must be three numbers"),
        (Own, {"resize_mode": "crop"}, "Unknown resize_mode 'crop'"),
        (Own, {"tokenizer": lambda texts: torch.ones(len(texts), max(map(len, texts)), dtype=torch.long)}, "the same context"),
        (Own, {"tokenizer": lambda texts: [1, 2]}, "must return ids as an integer tensor"),
        (Own, {"tokenizer": lambda texts: 1 / 0}, "The tokenizer of Own fails on a list of texts: ZeroDivisionError"),
    ],
)
def test_mistakes_are_one_sentence(kind, changes, message, tokenizer):
    arguments = {"tokenizer": tokenizer, "image_size": 48, **COLOURS, **METHODS, **changes}
    with pytest.raises(UserError, match=message):
        models.wrap(kind(), **arguments)
