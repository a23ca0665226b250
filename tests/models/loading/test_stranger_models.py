"""Model directories and hub repositories of unknown origin: nothing in them is run, and every problem is one sentence."""

import gzip
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from models.loading.tokenizers import LARGEST_MERGES
from models.registry import UserError

CODE = """
import os
open(os.environ["PWNED"], "w").write("code of the model ran")
from transformers import PreTrainedTokenizer
class Evil(PreTrainedTokenizer):
    pass
"""


@pytest.fixture
def stranger(model_directory, tmp_path, monkeypatch):
    """A model directory to change, and the file that its code would write."""
    monkeypatch.setenv("PWNED", str(tmp_path / "PWNED"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return shutil.copytree(model_directory, tmp_path / "stranger")


def change(folder, value, *path):
    """Set a value of the configuration; a value of None removes it."""
    file = folder / "open_clip_config.json"
    config = json.loads(file.read_text())
    inner = config
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner.update({path[-1]: value}) if value is not None else inner.pop(path[-1])
    file.write_text(json.dumps(config))


def sentence(folder, pretrained=None):
    with pytest.raises(UserError) as error:
        models.load(str(folder), pretrained)
    text = str(error.value)
    assert len(text.splitlines()) == 1 and len(text) < 600 and text.endswith(".")
    return text


TOKENIZER_CODE = [
    ({"auto_map": {"AutoTokenizer": ["tok.Evil", None]}, "tokenizer_class": "Evil"}, "has Python code"),
    ({"auto_map": ["tok.Evil", None]}, "has Python code"),
    ({"auto_map": {"AutoTokenizer": ["other/repository--tok.Evil", None]}}, "has Python code"),
    ({"tokenizer_class": "Trainer"}, "asks for the tokenizer class 'Trainer'"),
    ({"tokenizer_class": "tok.Evil"}, "asks for the tokenizer class"),
    ({"tokenizer_class": ["Evil"]}, "asks for the tokenizer class"),
]


@pytest.mark.parametrize(("settings", "message"), TOKENIZER_CODE)
@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_a_tokenizer_with_code_is_not_run(stranger, settings, message, file, tmp_path):
    change(stranger, "x/y", "model_cfg", "text_cfg", "hf_tokenizer_name")
    (stranger / file).write_text(json.dumps(settings))
    (stranger / "tok.py").write_text(CODE)
    (stranger / "tokenizer.json").write_text("{}")
    assert message in sentence(stranger)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (True, ("text_cfg", "tokenizer_kwargs", "trust_remote_code")),
        ("/etc/passwd", ("text_cfg", "tokenizer_kwargs", "bpe_path")),
        ("syntax", ("text_cfg", "tokenizer_kwargs", "reduction_mask")),
        ({"x": 1}, ("text_cfg", "tokenizer_kwargs", "config")),
        ("hf-hub:evil/model", ("vision_cfg", "timm_model_name")),
        ("local-dir:/tmp/evil", ("vision_cfg", "timm_model_name")),
        ("no_such_model", ("vision_cfg", "timm_model_name")),
        ("evil/model", ("text_cfg", "hf_model_name")),
        ("./evil", ("text_cfg", "hf_model_name")),
        ("/tmp/evil", ("text_cfg", "hf_tokenizer_name")),
        ("../../evil/model", ("text_cfg", "hf_tokenizer_name")),
        ({"__class__": "os.system"}, ("vision_cfg", "act_kwargs")),
        ({"eps": 1e-5, "dtype": "evil"}, ("text_cfg", "norm_kwargs")),
        ("torch.nn.Tanh", ("vision_cfg", "act_layer")),
        ("evil.Class", ("custom_text",)),
    ],
)
def test_settings_that_could_name_code_or_files_are_refused(stranger, value, path):
    change(stranger, value, "model_cfg", *path)
    assert path[-1] in sentence(stranger) or repr(value) in sentence(stranger)


def test_a_folder_that_is_called_like_a_text_tower_is_not_read(stranger, tmp_path, monkeypatch):
    """Transformers prefers a folder of the working directory to the hub, and would offer to run its code."""
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "roberta-base"
    evil.mkdir()
    (evil / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "tok.Evil"}}))
    (evil / "tok.py").write_text(CODE)
    change(stranger, "roberta-base", "model_cfg", "text_cfg", "hf_model_name")
    assert "folder of that name in the working directory" in sentence(stranger)
    assert not (tmp_path / "PWNED").exists()


BROKEN = [
    (("embed_dim",), "32", "model_cfg.embed_dim is '32'; allowed is a whole number from 1 to 65,536"),
    (("embed_dim",), None, "model_cfg.embed_dim is missing"),
    (("embed_dim",), True, "model_cfg.embed_dim is True"),
    (("embed_dim",), 32.0, "model_cfg.embed_dim is 32.0"),
    (("embed_dim",), 10**30, "model_cfg.embed_dim is 1000000000"),
    (("vision_cfg",), None, "model_cfg.vision_cfg is missing"),
    (("vision_cfg",), [1], "model_cfg.vision_cfg is [1], but must be an object"),
    (("vision_cfg", "layers"), -2, "model_cfg.vision_cfg.layers is -2"),
    (("vision_cfg", "layers"), 10**9, "model_cfg.vision_cfg.layers is 1000000000"),
    (("vision_cfg", "layer"), 2, "unknown setting 'layer'; did you mean 'layers'"),
    (("vision_cfg", "head_width"), 64, "open_clip cannot build it"),
    (("vision_cfg", "image_size"), 4000, "its images have 110,889 patches"),
    (("vision_cfg", "image_size"), 0, "model_cfg.vision_cfg.image_size is 0"),
    (("text_cfg", "heads"), 3, "open_clip cannot build it"),
    (("text_cfg", "pool_type"), "mean", "allowed is one of 'argmax', 'eos', 'last', 'first'"),
    (("text_cfg", "context_length"), "32", "model_cfg.text_cfg.context_length is '32'"),
    (("vision_cfg", "output_tokens"), True, "its model cannot encode"),
    (("text_cfg", "pool_type"), "eos", "its model returns the same features for two different texts (pool_type, eos_id)"),
    (("multimodal_cfg",), {}, "model_cfg.multimodal_cfg needs model_cfg.custom_text to be true"),
    (("nothing",), 1, "model_cfg has the unknown setting 'nothing'"),
]


@pytest.mark.parametrize(("path", "value", "message"), BROKEN)
def test_broken_configurations_are_one_sentence(stranger, path, value, message):
    change(stranger, value, "model_cfg", *path)
    text = sentence(stranger)
    assert text.startswith(f"The model configuration {stranger / 'open_clip_config.json'} is not valid: ") and message in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("vision_cfg", "patch_size"),
            16,
            "'visual.conv1.weight' is [32, 3, 12, 12] in the file and [32, 3, 16, 16] in the model",
        ),
        (
            ("text_cfg", "context_length"),
            24,
            "'positional_embedding' is [32, 32] in the file and [24, 32] in the model: another context_length",
        ),
        (("vision_cfg", "layers"), 1000, "is missing"),
        (("text_cfg", "vocab_size"), 9_999_999, "'token_embedding.weight' is"),
    ],
)
def test_configurations_that_contradict_the_weights_are_refused_before_memory_is_taken(
    stranger, monkeypatch, path, value, message
):
    change(stranger, value, "model_cfg", *path)
    text = sentence(stranger)
    assert "do not fit" in text and message in text


@pytest.mark.slow
def test_a_random_model_that_is_larger_than_the_memory(stranger):
    for name, value in (("width", 65_536), ("layers", 100)):
        change(stranger, value, "model_cfg", "text_cfg", name)
    assert "GB for its weights, but this machine has" in sentence(stranger, "random")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "it is a JSON list, not an object"),
        (b'"text"', "it is a JSON str, not an object"),
        (b"{", "it is not JSON"),
        (b"", "it is not JSON"),
        (b"\xff\xfe{\x00}\x00", "it is not UTF-8 text"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"model_cfg": {"embed_dim": NaN}}', "NaN is not a JSON number"),
        (b'{"model_cfg": 7}', "it has no object model_cfg"),
        (b'{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {}}', 'its settings must be under "model_cfg"'),
        (b" " * 1_000_001, "it is larger than 1,000,000 bytes"),
    ],
)
def test_configurations_that_are_no_json_objects(stranger, content, message):
    (stranger / "open_clip_config.json").write_bytes(content)
    assert message in sentence(stranger)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mean", 0.5), ("mean", [0.5] * 4), ("std", [0.0, 1.0, 1.0]), ("std", [1, 1, "1"]), ("resize_mode", "crop")),
        *(("interpolation", "lanczos"), ("fill_color", 300), ("size", -1), ("mode", "L"), ("crop_pct", 0.9)),
    ],
)
def test_preprocessing_is_checked(stranger, name, value):
    change(stranger, value, "preprocess_cfg", name)
    assert f"preprocess_cfg.{name} is" in (text := sentence(stranger)) or f"unknown setting {name!r}" in text


@pytest.mark.slow
def test_merges_that_are_damaged_unpack_without_end_or_belong_to_another_model(stranger):
    merges = stranger / "bpe.txt.gz"
    whole = merges.read_bytes()
    merges.write_bytes(b"no gzip")
    assert "damaged or not gzipped text" in sentence(stranger)
    with gzip.open(merges, "wb", compresslevel=1) as opened:
        opened.write(b" " * (LARGEST_MERGES + 10))
    assert "unpack to more than" in sentence(stranger)
    merges.unlink()
    assert "its tokenizer gives the id 49407, but the model has" in sentence(stranger)
    merges.write_bytes(whole)
    assert models.load(str(stranger)).image_size == 48


@pytest.mark.parametrize(
    ("change_tensor", "message"),
    [
        (lambda t: t.to(torch.int8), "is int8 in the file, and weights must be"),
        (lambda t: t.to(torch.complex64), "is complex64 in the file"),
        (lambda t: t * float("nan"), "has NaN or infinite values"),
        (lambda t: t.double() * 1e300, "has NaN or infinite values"),
    ],
)
def test_tensors_of_other_kinds_and_values_are_refused(stranger, change_tensor, message):
    file = stranger / "open_clip_model.safetensors"
    state = load_file(file)
    state["visual.conv1.weight"] = change_tensor(state["visual.conv1.weight"] + 1)
    save_file(state, file)
    assert message in sentence(stranger) and "'visual.conv1.weight'" in sentence(stranger)


def test_a_directory_without_weights_can_have_random_ones(stranger):
    (stranger / "open_clip_model.safetensors").unlink()
    assert models.load(str(stranger), "random").image_size == 48
    assert "has no weights" in sentence(stranger)
    (stranger / "open_clip_model.safetensors").mkdir()
    assert "has no weights" in sentence(stranger)


def test_a_directory_of_transformers_without_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    assert "has no weights" in sentence(tmp_path)


def test_a_directory_with_weights_of_openai_says_so_in_its_configuration(stranger):
    file = stranger / "open_clip_model.safetensors"
    extras = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    save_file(load_file(file) | extras, file)
    assert "trained with QuickGELU, so model_cfg.quick_gelu must be true" in sentence(stranger)
    change(stranger, True, "model_cfg", "quick_gelu")
    assert models.load(str(stranger)).image_size == 48


def test_a_checkpoint_of_a_run_is_not_a_directory_of_a_model(tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(b"x")
    assert f"--pretrained {tmp_path / 'encoder.safetensors'}" in sentence(tmp_path)


def test_names_that_the_system_does_not_take(stranger):
    assert "cannot be read: the name is too long" in sentence("x" * 5000)
    with pytest.raises(UserError, match="cannot be read: the name is too long"):
        models.load("ViT-B-32", "/" + "x" * 5000)
