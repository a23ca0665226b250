"""Weights as other programs and earlier runs leave them: laid out like the real files, compared tensor by tensor."""

import json
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

import models
from models import tuning
from models.loading import positions
from models.loading.description import describe
from models.loading.local_files import SHIPPED, weights_sha256
from models.loading.read_weights import DESCRIPTION
from models.registry import UserError

TEXT = ("transformer.", "token_embedding.", "ln_final.", "positional_embedding", "text_projection")


@pytest.fixture
def tiny_state():
    """Other weights for `tiny`: its own, each a little larger."""
    own = load_file(SHIPPED["tiny"] / "open_clip_model.safetensors")
    return {name: tensor.float() * 1.01 for name, tensor in own.items()}


def of(encoder):
    return encoder.clip.state_dict()


def test_a_file_takes_the_place_of_the_weights_of_a_model(tiny_state, tmp_path, same):
    """open_clip's trainer, distributed and compiled, for a model that ships with the project."""
    content = {
        "epoch": 7,
        "name": "2026_11_27-model_tiny-lr_1e-05",
        "state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in tiny_state.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": [{"lr": 1e-5, "params": [0]}]},
        "scaler": {"scale": 65536.0},
    }
    file = str(tmp_path / "epoch_7.pt")
    torch.save(content, file)
    encoder = models.load("tiny", file)
    assert same(of(encoder), tiny_state) and encoder.notes == () and encoder.pretrained == file
    assert encoder.preprocess == models.load("tiny").preprocess
    digests = {weights_sha256("tiny"), weights_sha256("tiny", file)}
    torch.save(tiny_state, file)
    assert len(digests | {weights_sha256("tiny", file)}) == 3, "the file is part of what is loaded"


def test_a_file_that_does_not_fit_or_exist_and_a_tag(tmp_path, toy):
    torch.save(toy, tmp_path / "toy.pt")
    with pytest.raises(
        UserError, match=r"toy\.pt do not fit tiny: 'positional_embedding' is \[77, 64\].*another context_length"
    ):
        models.load("tiny", str(tmp_path / "toy.pt"))
    with pytest.raises(UserError, match=r"none\.pt does not exist"):
        models.load("tiny", str(tmp_path / "none.pt"))
    for tag in ("openai", f"openai+{tmp_path / 'toy.pt'}"):
        with pytest.raises(UserError, match=r"'tiny' has its own weights: leave out --pretrained openai.* give a weights file"):
            models.load("tiny", tag)


WISE_FT = """
import torch, open_clip
class ImageEncoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        # Both programs delete the text tower's layers.
        del self.model.transformer
class ImageClassifier(torch.nn.Module):
    def __init__(self, encoder, head):
        super().__init__()
        self.image_encoder, self.classification_head = encoder, head
"""


@pytest.mark.parametrize("program", ["wise-ft", "task_vectors"])
def test_a_whole_pickle_is_refused_and_its_two_lines_convert_it(program, toy, tmp_path, monkeypatch):
    import open_clip

    module = types.ModuleType("modeling_of_others")
    exec(WISE_FT, module.__dict__)
    for name in ("ImageEncoder", "ImageClassifier"):
        getattr(module, name).__module__ = "modeling_of_others"
    monkeypatch.setitem(sys.modules, "modeling_of_others", module)
    clip = open_clip.CLIP(**open_clip.get_model_config("Toy"))
    clip.load_state_dict({name: tensor * 1.5 for name, tensor in toy.items()})
    trained = {name: tensor.clone() for name, tensor in clip.state_dict().items()}
    model = module.ImageEncoder(clip)
    if program == "wise-ft":
        model = module.ImageClassifier(model, torch.nn.Linear(16, 3))
    file = tmp_path / "checkpoint_10.pt"
    torch.save(model, file)
    with pytest.raises(UserError, match=r"modeling_of_others\.Image.*, so it is refused. If you trust it, convert it") as error:
        models.load("Toy", str(file))
    _, *lines = str(error.value).splitlines()
    assert len(lines) == 2
    exec("\n".join(lines), {})
    converted = str(tmp_path / "checkpoint_10-state.pt")

    with pytest.raises(UserError, match=r"have an image tower but no text tower\..*--pretrained TAG\+FILE"):
        models.load("Toy", converted)
    base = {name: tensor + 1 for name, tensor in toy.items()}
    save_file(base, tmp_path / "tag.safetensors")
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Toy", {"first": {"quick_gelu": True}})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(tmp_path / "tag.safetensors"))
    encoder = models.load("Toy", f"first+{converted}")
    for name, tensor in of(encoder).items():
        assert torch.equal(tensor, base[name] if name.startswith(TEXT) else trained[name]), name
    assert isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU), "the tag's"
    assert f"{converted} has no text tower, so Toy keeps the one of first" in encoder.notes
    assert weights_sha256("Toy", f"first+{converted}") == weights_sha256("Toy", converted) is not None


def test_an_image_tower_alone_over_the_weights_of_a_directory(tiny_state, tmp_path):
    image = {name: tensor for name, tensor in tiny_state.items() if name.startswith("visual.")}
    torch.save(image, tmp_path / "image.pt")
    encoder, own = models.load("tiny", str(tmp_path / "image.pt")), of(models.load("tiny"))
    for name, tensor in of(encoder).items():
        assert torch.equal(tensor, image.get(name, own[name])), name
    assert encoder.notes == (f"{tmp_path / 'image.pt'} has no text tower, so tiny keeps the one of tiny",)


@pytest.mark.parametrize("family", ["clip", "timm"])
def test_position_embeddings_of_another_resolution_are_interpolated(family, tmp_path, monkeypatch):
    name, key = ("tiny", positions.NAMES[0]) if family == "clip" else ("tiny-siglip", positions.NAMES[1])
    extra = 1 if family == "clip" else 0
    state = {k: v.float() for k, v in load_file(SHIPPED[name] / "open_clip_model.safetensors").items()}
    larger = torch.randn(*state[key].shape[:-2], 64 + extra, 128, generator=torch.Generator().manual_seed(0))
    file = str(tmp_path / "at_64_pixels.pt")
    torch.save({**state, key: larger}, file)
    encoder = models.load(name, file)
    grid = larger.reshape(-1, 128)[extra:].T.reshape(1, 128, 8, 8)
    smaller = F.interpolate(grid, (6, 6), mode="bicubic", antialias=True, align_corners=False).reshape(128, 36).T
    expected = torch.cat([larger.reshape(-1, 128)[:extra], smaller]).reshape(state[key].shape)
    assert torch.equal(of(encoder)[key], expected)
    assert encoder.notes == (
        f"the position embeddings of {file} were interpolated from 8 x 8 to 6 x 6 patches, because {name} takes images of "
        "another size",
    )
    if family == "clip":
        from open_clip.model import resize_pos_embed

        theirs = {key: larger}
        resize_pos_embed(theirs, encoder.clip)
        assert torch.equal(theirs[key], expected), "as open_clip does it"


@pytest.mark.parametrize("shape", [(12, 4), (2, 1, 5, 4)])
def test_grids_that_are_not_squares_are_not_interpolated(shape):
    assert positions.resized(torch.zeros(shape), 17) is None
    assert positions.resized(torch.zeros(5, 4), 12) is None


def params(force, start="", model="Toy"):
    """The log of open_clip's trainer."""
    return {"params.txt": PARAMS.format(force=force, model=model, start=start)}


def declares(act):
    return {"checkpoints/config.json": json.dumps({"vision_config": {"hidden_act": act}})}


PARAMS = "batch_size: 64\nforce_quick_gelu: {force}\nmodel: {model}\nname: run: with a colon\npretrained: {start}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "declared", "quick", "note"),
    [
        (
            "Toy",
            params(True),
            True,
            "trained with QuickGELU, so Toy computes",
        ),
        ("Toy", params(False), False, None),
        (
            "Toy",
            params(False, "openai"),
            False,
            "does not record its activation",
        ),
        ("Toy-quickgelu", params(False), True, "QuickGELU mismatch"),
        (
            "Toy",
            declares("quick_gelu"),
            True,
            "so Toy computes",
        ),
        ("Toy-quickgelu", declares("gelu"), True, "mismatch"),
        (
            "Toy-quickgelu",
            {"checkpoints/open_clip_config.json": json.dumps({"model_cfg": {"embed_dim": 16}})},
            True,
            r"QuickGELU mismatch: .*epoch_1\.pt was trained with GELU \(open_clip_config.json next to it\), and Toy-quickgelu "
            "computes QuickGELU",
        ),
        ("Toy", {"checkpoints/config.json": "[1", "params.txt": "?"}, False, "does not record its activation"),
    ],
)
def test_quickgelu_is_compared_with_what_the_files_around_the_weights_declare(
    architecture, declared, quick, note, toy, tmp_path, monkeypatch
):
    """logs/NAME/params.txt and logs/NAME/checkpoints/epoch_1.pt, as open_clip's trainer writes them."""
    import re

    import open_clip

    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Toy", {"first": {"quick_gelu": True}})
    (tmp_path / "checkpoints").mkdir()
    for name, text in declared.items():
        (tmp_path / name).write_text(text)
    torch.save({"epoch": 1, "state_dict": toy}, tmp_path / "checkpoints" / "epoch_1.pt")
    encoder = models.load(architecture, str(tmp_path / "checkpoints" / "epoch_1.pt"))
    assert isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU) == quick
    assert [bool(re.search(note, text)) for text in encoder.notes] == [True] if note else encoder.notes == ()


def checkpoint(folder, encoder, record=None, metadata=None):
    """The files of a run's checkpoint: RUN/checkpoint/after-1/encoder.safetensors, RUN/run.json."""
    (folder / "checkpoint" / "after-1").mkdir(parents=True)
    if record is not None:
        (folder / "run.json").write_text(json.dumps({"identity": record}))
    description = {**describe(encoder), **(metadata or {})}
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    file = folder / "checkpoint" / "after-1" / "encoder.safetensors"
    save_file(state, file, {"format": "pt", DESCRIPTION: json.dumps(description)})
    return str(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lora",
            r"a run with --tuning lora or a method .*`python cli\.py export .*run --to open_clip --out",
        ),
        ("adapter", "a run with --tuning adapter or .* --to safetensors"),
        ("probe", r"a run with --tuning probe, whose heads are in strategy\.safetensors.*perennial\.load_run\('.*run'\)"),
    ],
)
@pytest.mark.parametrize("told_by", ["record", "metadata"])
def test_a_runs_file_that_is_not_the_whole_model_is_refused(name, message, told_by, tmp_path):
    encoder = models.load("tiny")
    tuning.apply(encoder, name)
    told = {"metadata": {"run": {"tuning": name, "own_answers": False}}} if told_by == "metadata" else {}
    file = checkpoint(tmp_path / "run", encoder, {"tuning": name}, **told)
    with pytest.raises(UserError, match=message):
        models.load("tiny", file)


def test_a_runs_file_whose_method_answers_with_more_than_the_encoder_has_a_note(tmp_path, same):
    encoder = models.load("tiny")
    file = checkpoint(tmp_path / "run", encoder, {"tuning": "full"}, {"run": {"tuning": "full", "own_answers": True}})
    again = models.load("tiny", file)
    assert same(of(again), of(encoder))
    [note] = again.notes
    assert f"the run of {file} classifies with more than its encoder" in note
    plain = checkpoint(tmp_path / "plain", encoder, {"tuning": "full"})
    assert models.load("tiny", plain).notes == ()
