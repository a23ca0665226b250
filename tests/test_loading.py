"""models.load: names, tags, directories, and their mistakes. Nothing is downloaded."""

import json

import pytest
import torch

import models
from models.registry import UserError


def test_a_directory_is_loaded_through_open_clip(model_directory):
    encoder = models.load(str(model_directory))
    assert encoder.image_size == 48 and not encoder.training
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
    tokens = encoder.tokenize(["a photo of a cat."])
    assert tokens.shape == (1, 32) and int(tokens.argmax()) > 0
    same = models.load(str(model_directory))
    assert torch.equal(encoder.encode_texts(tokens), same.encode_texts(tokens))


def test_random_weights_come_from_the_generator(model_directory):
    torch.manual_seed(1)
    one = models.load(str(model_directory), "random")
    torch.manual_seed(1)
    two = models.load(str(model_directory), "random")
    stored = models.load(str(model_directory))
    weight = "clip.visual.conv1.weight"
    assert torch.equal(one.state_dict()[weight], two.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], stored.state_dict()[weight])


def test_an_architecture_without_a_tag_lists_the_tags():
    with pytest.raises(UserError, match=r"--pretrained, one of: .*openai.*random"):
        models.load("ViT-B-32")


def test_an_unknown_tag_and_an_unknown_name_are_corrected():
    with pytest.raises(UserError, match="Did you mean openai"):
        models.load("ViT-B-32", "opnai")
    with pytest.raises(UserError, match="Did you mean ViT-B-32"):
        models.load("ViT-B32")


def test_a_directory_that_is_no_model(tmp_path):
    with pytest.raises(UserError, match="open_clip_config"):
        models.load(str(tmp_path))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(UserError, match="no weights"):
        models.load(str(tmp_path))


def test_a_tag_for_a_model_that_brings_its_weights():
    with pytest.raises(UserError, match="its own weights"):
        models.load("tiny", "openai")
