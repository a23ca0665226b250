"""One interface to open_clip's model classes: the tower of a parameter, trainable parameters, inputs of features."""

import runpy
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from models import tuning
from models.encoder import DualEncoder
from models.towers import tower_of
from models.transforms import Preprocess

# Parameters in millions, image and text tower: open_clip's table (docs/model_profile.csv), and the context and feature
# widths of the model configurations.
REAL = {
    "ViT-B-16": ("CLIP", 86.19, 63.43, 149.62, 77, 512),
    "ViT-B-32": ("CLIP", 87.85, 63.43, 151.28, 77, 512),
    "ViT-L-14": ("CLIP", 303.97, 123.65, 427.62, 77, 768),
    "ViT-B-16-SigLIP": ("CustomTextCLIP", 92.88, 110.27, 203.16, 64, 768),
    "coca_ViT-B-32": ("CoCa", 89.16, 63.43, 253.56, 76, 512),
    "EVA02-B-16": ("CustomTextCLIP", 86.26, 63.43, 149.69, 77, 512),
}
TOWERS = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "towers.py"))
CLASSES, small, tokens_of = TOWERS["CLASSES"], TOWERS["small"], TOWERS["tokens_of"]


@pytest.fixture(params=CLASSES)
def model(request, monkeypatch):
    return small(request.param, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_architectures(name):
    kind, image, text, total, context, width = REAL[name]
    with torch.device("meta"):
        clip = open_clip.create_model(name, load_weights=False, device="meta", pretrained_text=False)
    assert type(clip).__name__ == kind
    millions = dict.fromkeys(("image", "text", "scale", "unused"), 0)
    for parameter_name, parameter in clip.named_parameters():
        millions[tower_of(parameter_name)] += parameter.numel()
    assert round(millions["image"] / 1e6, 2) == image and round(millions["text"] / 1e6, 2) == text
    assert round(sum(millions.values()) / 1e6, 2) == total
    assert millions["scale"] == (2 if "SigLIP" in name else 1)
    assert (millions["unused"] > 0) == (kind == "CoCa")

    encoder = DualEncoder(clip, tokens_of, 224, [0.5] * 3, [0.5] * 3).to("meta")
    assert (encoder.context_length, encoder.feature_dim) == (context, width)
    assert encoder.preprocess == Preprocess(224)
    pixels = torch.empty(2, 3, 224, 224, dtype=torch.uint8, device="meta")
    tokens = torch.empty(3, context, dtype=torch.long, device="meta")
    assert encoder.encode_images(pixels).shape == (2, width)
    assert encoder.encode_texts_plain(tokens).shape == (3, width)


def test_features_and_logits(model):
    tokens = model.tokenize(["cat", "a dog"])
    pixels = torch.randint(0, 256, (4, 3, model.image_size, model.image_size), dtype=torch.uint8)
    with torch.no_grad():
        images, texts = model.encode_images(pixels), model.encode_texts(tokens)
        assert images.shape == (4, model.feature_dim) and texts.shape == (2, model.feature_dim)
        torch.testing.assert_close(images.norm(dim=1), torch.ones(4))
        torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
        expected = model.clip.logit_scale.exp() * torch.einsum("id,td->it", images, texts)
        if model.name == "siglip":
            assert float(model.clip.logit_bias) == -10
            expected = expected - 10
        torch.testing.assert_close(model.logits(images, texts), expected)
    assert model.context_length == 20


@pytest.mark.parametrize("kind", CLASSES)
def test_texts_are_cut_exactly(kind, monkeypatch):
    model = small(kind, monkeypatch).double()
    seen = []
    hook = model._text_tower().transformer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    for strings in (["a"], ["a", "a much longer sentence than fits"], ["", "cats", "a dog"], ["\0x", "\0"], ["x" * 17]):
        tokens = model.tokenize(strings)
        with torch.no_grad():
            cut, plain = model.encode_texts(tokens), model.encode_texts_plain(tokens)
        torch.testing.assert_close(cut, plain, rtol=0, atol=1e-10)
        assert not torch.allclose(plain[:1], plain[-1:]) or len(strings) == 1, "features that do not depend on the text"
    hook.remove()
    # The first batch is start, "a", end; CoCa adds the padding that its mask lets through, and its class token.
    assert seen[0] == {"siglip": 20, "coca": 5}.get(kind, 3)


@pytest.mark.parametrize("correct_mask", [False, True])
def test_coca_is_cut_exactly_with_token_0_inside_and_nothing_at_all(correct_mask, monkeypatch):
    """In CLIP's vocabulary 0 is both the exclamation mark and the padding, and CoCa's mask takes it for padding."""
    model = small("coca", monkeypatch).double()
    model.clip.text.correct_cls_mask = correct_mask
    tokens = torch.zeros(3, 20, dtype=torch.long)
    tokens[0, :6] = torch.tensor([298, 5, 0, 0, 7, 299])
    tokens[1, :3] = torch.tensor([298, 0, 299])
    with torch.no_grad():
        torch.testing.assert_close(model.encode_texts(tokens), model.encode_texts_plain(tokens), rtol=0, atol=1e-10)
        nothing = tokens[2:]
        torch.testing.assert_close(
            model.encode_texts(nothing), model.encode_texts_plain(nothing), rtol=0, atol=0, equal_nan=True
        )
        filled = torch.full((2, 20), 5)
        torch.testing.assert_close(model.encode_texts(filled), model.encode_texts_plain(filled), rtol=0, atol=1e-10)


def test_cut_texts_have_the_same_gradients(model):
    model = model.double()
    tokens = model.tokenize(["cat", "a dog!"])
    direction = torch.randn(2, model.feature_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for encode in (model.encode_texts, model.encode_texts_plain):
        model.zero_grad()
        (encode(tokens) * direction).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["full", "visual", "text"])
def test_what_trains_gets_a_gradient_and_nothing_else_does(name, model):
    options = {"logit_scale": True} if name == "full" else {}
    trained = tuning.apply(model, name, **options)
    towers = {tower_of(n) for n, p in model.clip.named_parameters() if p.requires_grad}
    assert towers == {"full": {"image", "text", "scale"}, "visual": {"image"}, "text": {"text"}}[name]
    assert tuning.trains_text(model) == (name != "visual")

    pixels = torch.randint(0, 256, (4, 3, model.image_size, model.image_size), generator=torch.Generator().manual_seed(0))
    logits = model.logits(model.encode_images(pixels.to(torch.uint8)), model.encode_texts(model.tokenize(["cat", "a dog"])))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0])).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without and len(trained) == sum(p.grad is not None for p in model.parameters())


def test_every_tensor_is_in_one_tower(model):
    towers = {n: tower_of(n) for n, _ in model.clip.named_parameters()}
    assert {"image", "text", "scale"} <= set(towers.values())
    assert {n.split(".")[0] for n, tower in towers.items() if tower == "unused"} == (
        {"text_decoder"} if model.name == "coca" else set()
    )


def test_a_part_that_nobody_placed_is_not_guessed():
    with pytest.raises(ValueError, match=r"'adapter\.weight'"):
        tower_of("adapter.weight")


def test_preprocessing_and_image_size_agree(encoder):
    assert encoder.preprocess == Preprocess(48) and encoder.image_size == 48
    with pytest.raises(ValueError, match="image_size is 48, but the preprocessing gives 32 pixels"):
        DualEncoder(encoder.clip, tokens_of, 48, [0.5] * 3, [0.5] * 3, preprocess=Preprocess(32))
