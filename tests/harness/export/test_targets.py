"""Each target, of each architecture and tuning: written, loaded in a process without this project, the same answers."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from harness.export import EXPORTERS, head, lora_adapter, tokenizers
from harness.export.check import TOLERANCE, check, random_batches
from harness.export.exportable import Exportable, Head
from harness.export.onnx_towers import merged_copy
from models import lora, tuning
from models.classifier import PromptClassifier, Prompts
from models.registry import UserError

TASKS = (
    Prompts("pets", ("cat", "dog", "hi! there"), ("a photo of a {}.", "the {}.")),
    Prompts("things", ("red boat", "two blue houses"), ("a {}.",)),
)
CASES = (
    ("tiny", "bitfit", "safetensors"),
    ("tiny", "adapter", "open_clip"),
    ("tiny", "lora", "huggingface adapter"),
    ("tiny-siglip", "adapter", "huggingface"),
    ("tiny-siglip", "lora", "huggingface adapter"),
    ("tiny-siglip", "full", "safetensors"),
    ("tiny-coca", "lora", "open_clip"),
    ("toy", "adapter", "onnx"),
)


def moved(name, tuned="full"):
    """A model with a tuning that has trained a little."""
    encoder = models.load(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parameters = tuning.apply(encoder, tuned)
        with torch.no_grad():
            for parameter in parameters:
                parameter += 0.02 * torch.randn_like(parameter)
    for adapter in filter(None, (encoder.image_adapter, encoder.text_adapter)):
        adapter.ratio.fill_(0.2)
    encoder.touch()
    return encoder


def made(encoder):
    """Return a model with the heads of `TASKS` as it is exported, and a stand-in for the saved run."""
    classifier = PromptClassifier(encoder).eval()
    for label, prompts in enumerate(TASKS):
        classifier.register_domain(label, prompts)
    with torch.no_grad():
        rows = [classifier.text_features(label).clone() for label in range(len(TASKS))]
    heads = tuple(Head(*prompts[:3], text=part, rows=part) for prompts, part in zip(TASKS, rows, strict=True))

    def predict(features, candidates):
        return encoder.logits(features, torch.cat([rows[task] for task in candidates.tasks]))

    saved = SimpleNamespace(
        encoder=encoder,
        classifier=classifier,
        strategy=SimpleNamespace(predict=predict),
        heads=lambda: {prompts.name: prompts for prompts in TASKS},
        rivals=lambda label: [],
    )
    return Exportable(encoder, heads), saved


def written(encoder, target, folder):
    model, saved = made(encoder)
    name, _, adapter = target.partition(" ")
    exporter = EXPORTERS.get(name)(model, bool(adapter))
    exporter.check()
    folder.mkdir()
    exporter.write(folder)
    head.write(model, folder)
    return exporter, saved


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_the_exported_model_gives_the_same_logits(case, fresh, model_directory, tmp_path):
    name, tuned, target = case
    encoder = moved(str(model_directory) if name == "toy" else name, tuned)
    exporter, saved = written(encoder, target, tmp_path / "model")
    checked = check(exporter, tmp_path / "model", saved, random_batches(saved), fresh)
    if exporter.code() is None:
        assert name == "tiny-siglip" and checked.logits is None, "timm does not know its tower without this project"
        return
    assert checked.images == 64 and checked.random and checked.logits <= TOLERANCE * max(1, checked.largest)
    assert checked.texts is None if target == "safetensors" else checked.texts < 2e-4
    assert checked.photo < TOLERANCE
    if target == "open_clip":
        again = models.load(str(tmp_path / "model"))
        tokens = again.tokenize(["two blue houses", "hi! there"])
        assert torch.allclose(again.raw_texts(tokens), encoder.raw_texts(tokens), atol=1e-5)
    if target == "huggingface adapter":
        settings = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
        assert settings["lora_alpha"] / settings["r"] == pytest.approx(lora.sites(encoder)[0].update.scale)
        base = load_file(tmp_path / "model" / "base" / "model.safetensors")
        plain = models.load(name).state_dict()
        tokens = "clip.token_embedding.weight" if name == "tiny" else "clip.text.token_embedding.weight"
        assert torch.equal(base["text_model.embeddings.token_embedding.weight"], plain[tokens])


@pytest.mark.slow
def test_a_wrong_file_is_refused(fresh, model_directory, tmp_path):
    exporter, saved = written(moved(str(model_directory)), "open_clip", tmp_path / "model")
    changed = {
        "open_clip_model.safetensors": ("visual.ln_post.bias", "answers differently"),
        "head.safetensors": ("text.pets", "answers differently"),
    }
    for name, (tensor, message) in changed.items():
        path = tmp_path / "model" / name
        before, tensors = path.read_bytes(), load_file(path)
        tensors[tensor] += 0.05 * torch.arange(tensors[tensor].numel()).view_as(tensors[tensor])
        save_file(tensors, path)
        with pytest.raises(UserError, match=message):
            check(exporter, tmp_path / "model", saved, random_batches(saved), fresh)
        path.write_bytes(before)
    path = tmp_path / "model" / "tokenizer.json"
    content = json.loads(path.read_text())
    known = content["model"]["vocab"]
    known["a</w>"], known["the</w>"] = known["the</w>"], known["a</w>"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="reads texts differently"):
        check(exporter, tmp_path / "model", saved, random_batches(saved), fresh)
    settings = tmp_path / "model" / "open_clip_config.json"
    settings.write_text(settings.read_text().replace('"shortest"', '"squash"'))
    known["a</w>"], known["the</w>"] = known["the</w>"], known["a</w>"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="prepares photos differently"):
        check(exporter, tmp_path / "model", saved, random_batches(saved), fresh)
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"cannot be used in a fresh process: .*Nothing was written"):
        check(exporter, tmp_path / "model", saved, random_batches(saved), fresh)


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("tiny-eva02", "open_clip", "timm has no image tower 'perennial_eva02_patch8_48' outside of this project"),
        ("tiny-eva02", "huggingface", "no class for the architecture of tiny-eva02.*--to onnx or --to safetensors"),
        ("tiny-coca", "huggingface", "no class for the architecture of tiny-coca.*--to open_clip or --to onnx"),
    ],
)
def test_an_architecture_that_a_target_does_not_know(name, target, message):
    with pytest.raises(UserError, match=message):
        EXPORTERS.get(target)(made(models.load(name))[0]).check()


def test_a_merged_copy_leaves_the_model_as_it_is(encoder):
    tuning.apply(encoder, "lora")
    with torch.no_grad():
        for site in lora.sites(encoder):
            site.update.B.normal_(std=0.1)
    pixels = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    before = encoder.encode_images(pixels)
    copied = merged_copy(encoder)
    assert not lora.sites(copied) and lora.sites(encoder) and not torch.equal(before, encoder.encode_images(255 - pixels))
    assert torch.equal(encoder.encode_images(pixels), before)
    assert torch.allclose(copied.encode_images(pixels), before, atol=1e-6)


def test_an_adapter_needs_lora_and_transformers():
    encoder = moved("tiny", "lora")
    model, _ = made(encoder)
    with pytest.raises(UserError, match="needs --to huggingface"):
        lora_adapter.check(encoder, EXPORTERS.get("open_clip")(model, True))
    lora.merge(encoder)
    with pytest.raises(UserError, match="needs a run with the tuning lora"):
        lora_adapter.check(encoder, EXPORTERS.get("huggingface")(model, True))


def test_a_tokenizer_of_the_users_own(encoder):
    with pytest.raises(UserError, match="is a function, which cannot be written"):
        tokenizers.check(encoder)
