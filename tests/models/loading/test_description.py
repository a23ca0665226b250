"""Settings that a model's tensors do not show: recorded with a run's weights and compared when the weights are loaded."""

import copy
import json
import pickle
import shutil

import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import models
from harness.run import checkpoint
from models import DualEncoder
from models.loading import description, read_weights
from models.registry import UserError
from models.transforms import Preprocess


def quick(encoder):
    return isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)


def saved(encoder, folder):
    """The weights file of a run's checkpoint."""
    checkpoint.save_state(folder, 1, dict(encoder.state_dict()), {}, description.describe(encoder))
    return folder / "after-1" / "encoder.safetensors"


def edited(file, **settings):
    """The file with other recorded settings."""
    recorded = read_weights.read(file).description
    for name, value in settings.items():
        recorded[name] = {**recorded[name], **value} if isinstance(value, dict) else value
    save_file(load_file(file), file, {read_weights.DESCRIPTION: json.dumps(recorded)})
    return str(file)


@pytest.fixture
def trained(toy, tmp_path):
    """Weights of a run that computes with QuickGELU, and the encoder that they come from."""
    torch.save(toy, tmp_path / "toy.pt")
    encoder = models.load("Toy-quickgelu", str(tmp_path / "toy.pt"))
    return encoder, saved(encoder, tmp_path / "checkpoint")


@pytest.mark.slow
def test_the_activation_of_a_run_comes_back_and_is_said(trained):
    encoder, file = trained
    with safe_open(file, framework="pt") as opened:
        recorded = json.loads(opened.metadata()[read_weights.DESCRIPTION])
    assert recorded["image"]["activation"] == recorded["text"]["activation"] == ["QuickGELU"]
    again = models.load("Toy", str(file))
    assert quick(again) and again.notes == (f"{file} was trained with QuickGELU, so Toy computes with it",)
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[298, 7, 8, 299, *[0] * 73], [298, 9, 299, *[0] * 74]])
    with torch.no_grad():
        assert torch.equal(again.encode_images(pixels), encoder.encode_images(pixels))
        assert torch.equal(again.encode_texts(tokens), encoder.encode_texts(tokens))
    assert models.load("Toy-quickgelu", str(file)).notes == ()


@pytest.mark.slow
def test_weights_of_gelu_are_refused_by_a_model_with_quickgelu(toy, tmp_path):
    torch.save(toy, tmp_path / "toy.pt")
    file = saved(models.load("Toy", str(tmp_path / "toy.pt")), tmp_path / "checkpoint")
    with pytest.raises(UserError, match=r"activation of the image tower \(GELU in the file, QuickGELU in the model\)"):
        models.load("Toy-quickgelu", str(file))
    assert not quick(models.load("Toy", str(file)))


@pytest.mark.slow
def test_preprocessing_comes_from_the_file(trained):
    file = edited(trained[1], mean=[0.1, 0.2, 0.3], std=[0.5] * 3, resize_mode="squash", interpolation="bilinear", fill=7)
    encoder = models.load("Toy", file)
    assert encoder.preprocess == Preprocess(24, "squash", "bilinear", 7)
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": {"heads": [2]}}, r"attention heads of the image tower \(2 in the file, 1 in the model\)"),
        ({"text": {"eps": [1e-6]}}, r"epsilon of the norms of the text tower \(1e-06 in the file, 1e-05 in the model\)"),
        ({"text": {"pooling": ["last", False]}}, "pooling of the text tower"),
        ({"text": {"mask": False}}, r"causal mask of the text tower \(False in the file, True in the model\)"),
        ({"tokens": "0" * 16}, "trained in a model that differs from Toy: tokenizer"),
        ({"image_size": 48}, r"image size \(48 in the file, 24 in the model\)"),
    ],
)
def test_whatever_else_differs_is_refused(trained, settings, message):
    with pytest.raises(UserError, match=message):
        models.load("Toy", edited(trained[1], **settings))


@pytest.mark.slow
@pytest.mark.parametrize("recorded", ["{", "[1]", "{}", '{"mean": {"a": 1}}', '{"image": 3, "text": null}'])
def test_a_record_of_a_stranger_is_data(trained, recorded, tmp_path):
    file = tmp_path / "other.safetensors"
    save_file(load_file(trained[1]), file, {read_weights.DESCRIPTION: recorded})
    if "mean" in recorded:
        with pytest.raises(UserError, match=r"the recorded preprocessing\.mean is"):
            models.load("Toy", str(file))
    else:
        assert not quick(models.load("Toy", str(file)))


@pytest.mark.slow
def test_a_directory_that_contradicts_the_record_is_refused(model_directory, tmp_path):
    folder = shutil.copytree(model_directory, tmp_path / "model")
    file = saved(models.load(str(folder)), tmp_path / "checkpoint")
    shutil.copy(file, folder / "open_clip_model.safetensors")
    assert models.load(str(folder)).notes == ()
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4] * 3
    config["model_cfg"]["quick_gelu"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(
        UserError, match=r"mean of the pixels \(0\.5, 0\.5, 0\.5 in the file.*activation of the image tower \(GELU"
    ):
        models.load(str(folder))


@pytest.mark.slow
def test_files_without_a_record_are_told_of_where_openai_weights_fit(monkeypatch, toy, tmp_path):
    import open_clip

    torch.save(toy, tmp_path / "weights.pt")
    assert models.load("Toy", str(tmp_path / "weights.pt")).notes == ()
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Toy", {"openai": {"quick_gelu": True}})
    [note] = models.load("Toy", str(tmp_path / "weights.pt")).notes
    assert "does not record its activation, and GELU is used" in note and "--model Toy-quickgelu" in note
    assert models.load("Toy-quickgelu", str(tmp_path / "weights.pt")).notes == ()


@pytest.mark.slow
def test_descriptions_of_the_same_model_are_equal_and_json(trained):
    encoder, file = trained
    first = description.describe(encoder)
    assert json.loads(json.dumps(first)) == first == read_weights.read(file).description
    assert description.differences(first, description.describe(copy.deepcopy(encoder))) == []
    assert description.describe(models.load("tiny"))["image"]["heads"] == [4]


def test_an_encoder_is_pickled_and_copied(encoder, tmp_path):
    torch.save(encoder, tmp_path / "encoder.pt")
    pixels = torch.zeros(1, 3, 48, 48, dtype=torch.uint8)
    for other in (pickle.loads(pickle.dumps(encoder)), copy.deepcopy(encoder)):
        assert torch.equal(other.encode_images(pixels), encoder.encode_images(pixels))
        before = other.text_version, encoder.text_version
        other.load_state_dict(encoder.state_dict())
        assert (other.text_version, encoder.text_version) == (before[0] + 1, before[1]), "its own caches are told"
    again = torch.load(tmp_path / "encoder.pt", weights_only=False)
    assert torch.equal(again.encode_images(pixels), encoder.encode_images(pixels))


class Mine(nn.Module):
    """A dual encoder that is not from open_clip."""

    def __init__(self, image="visual", text="text"):
        super().__init__()
        self.names = image, text
        setattr(self, image, nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
        setattr(self, text, nn.EmbeddingBag(300, 4))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def encode_image(self, pixels, normalize=False):
        return getattr(self, self.names[0])(pixels)

    def encode_text(self, tokens, normalize=False):
        return getattr(self, self.names[1])(tokens)


def bytes_of(strings):
    return torch.tensor([[*string.encode()[:4].ljust(4)] for string in strings])


def test_an_own_model_is_told_which_parts_are_wanted():
    with pytest.raises(
        UserError, match=r"its parameters in 'image_encoder', 'words' do not belong to a known tower.* `visual` .* `text`"
    ):
        DualEncoder(Mine("image_encoder", "words"), bytes_of, 8, [0.5] * 3, [0.5] * 3)

    class Plain(Mine):
        def encode_image(self, pixels):
            return pixels

    with pytest.raises(UserError, match="its method encode_image does not take the argument normalize"):
        DualEncoder(Plain(), bytes_of, 8, [0.5] * 3, [0.5] * 3)
    with pytest.raises(
        UserError, match="no method encode_image; it has no method encode_text; it has no parameter logit_scale"
    ):
        DualEncoder(nn.Linear(2, 2), bytes_of, 8, [0.5] * 3, [0.5] * 3)
    encoder = DualEncoder(Mine(), bytes_of, 8, [0.5] * 3, [0.5] * 3)
    assert encoder.encode_texts(encoder.tokenize(["a cat"])).shape == (1, 4) and encoder.context_length == 4
    assert encoder.encode_images(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).shape == (2, 4)
    assert json.dumps(description.describe(encoder))
    with pytest.raises(UserError, match="has no `output_dim`"):
        _ = encoder.feature_dim
