"""Features of a task in one pass: equal to the encoder's, and reused exactly where they are still valid."""

import pytest
import torch
from torch.utils.data import Subset

from metrics.embedding import embed, embed_images
from models import tuning

PROMPTS = ("a red", "a green", "a blue")


@pytest.fixture
def images(toy_domain):
    return toy_domain("a", 3, train=300).train


@torch.no_grad()
def test_the_features_are_the_encoders(encoder, images):
    encoder.clip.logit_scale.fill_(3.0)
    result = embed(encoder, images, PROMPTS)
    features = result.features
    assert torch.allclose(features.image_features, encoder.encode_images(images.images), atol=1e-6)
    assert torch.equal(features.text_features, encoder.encode_texts(encoder.tokenize(PROMPTS)))
    assert features.labels.tolist() == images.targets and features.labels.dtype == torch.int64
    assert features.logit_scale == pytest.approx(20.0855, abs=1e-3) and result.raw == ()
    assert torch.equal(embed_images(encoder, images), features.image_features)


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_stays(encoder, images, training):
    encoder.train(training)
    assert not embed(encoder, images, PROMPTS).features.image_features.requires_grad
    assert encoder.training is training


def test_only_what_changed_is_computed_again(encoder, images):
    known = embed(encoder, images, PROMPTS)
    same = embed(encoder, images, PROMPTS, known)
    assert same.features[0] is known.features[0] and same.features[2] is known.features[2]
    with torch.no_grad():
        encoder.clip.visual.conv1.weight.mul_(2)
    encoder.touch_images()
    seen = embed(encoder, images, PROMPTS, known)
    assert not torch.equal(seen.features[0], known.features[0]) and seen.features[2] is known.features[2]
    with torch.no_grad():
        encoder.clip.token_embedding.weight.mul_(2)
    encoder.touch_text()
    read = embed(encoder, images, PROMPTS, seen)
    assert read.features[0] is seen.features[0] and not torch.equal(read.features[2], seen.features[2])
    fresh = embed(encoder, images, PROMPTS)
    assert all(torch.equal(a, b) for a, b in zip(read.features[:3], fresh.features[:3], strict=True))


def test_an_adapter_changes_features_behind_a_tower_that_stays(encoder, images):
    tuning.apply(encoder, "adapter")
    known = embed(encoder, images, PROMPTS)
    assert [len(batch) for batch in known.raw] == [256, 44]
    with torch.no_grad():
        encoder.image_adapter.ratio.fill_(0.5)
    result = embed(encoder, images, PROMPTS, known)
    assert not torch.allclose(result.features.image_features, known.features.image_features)
    assert torch.equal(result.features.image_features, embed(encoder, images, PROMPTS).features.image_features)
    assert torch.equal(embed_images(encoder, images, known), result.features.image_features)


def test_no_images(encoder, images):
    features = embed(encoder, Subset(images, []), PROMPTS).features
    assert features.image_features.shape == (0, 32) and features.labels.shape == (0,)
