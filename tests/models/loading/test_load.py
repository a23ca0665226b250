"""models.load: names, tags and directories, and user mistakes. Nothing is downloaded."""

import gzip
import json
import shutil
import warnings

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

import models
from models.loading.local_files import SHIPPED, weights_sha256
from models.registry import UserError
from models.transforms import Preprocess


def test_a_directory_is_loaded_through_open_clip(model_directory):
    encoder = models.load(str(model_directory))
    assert encoder.image_size == 48 and not encoder.training
    assert encoder.preprocess == Preprocess(48) and (encoder.context_length, encoder.feature_dim) == (32, 32)
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
    tokens = encoder.tokenize(["a photo of a cat."])
    assert tokens.shape == (1, 32) and int(tokens.argmax()) > 0
    same = models.load(str(model_directory))
    assert torch.equal(encoder.encode_texts(tokens), same.encode_texts(tokens))


@pytest.mark.slow
def test_models_share_a_tokenizer_until_its_merges_change(model_directory, tmp_path):
    folder = shutil.copytree(model_directory, tmp_path / "model")
    first, again = (models.load(str(folder))._tokenizer for _ in range(2))
    assert first is again
    with gzip.open(folder / "bpe.txt.gz", "rt", encoding="utf-8") as file:
        header, *merges = file.read().split("\n")
    with gzip.open(folder / "bpe.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join([header, merges[1], merges[0], *merges[2:]]))
    changed = models.load(str(folder))._tokenizer
    assert changed.bpe_ranks != first.bpe_ranks and changed.vocab_size == first.vocab_size


def test_a_directory_says_how_its_images_are_prepared(model_directory, tmp_path):
    folder = shutil.copytree(model_directory, tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"resize_mode": "longest", "interpolation": "bilinear", "fill_color": 3}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    encoder = models.load(str(folder))
    assert encoder.preprocess == Preprocess(48, "longest", "bilinear", 3)
    assert encoder.std.flatten().tolist() == pytest.approx([0.27] * 3)


@pytest.mark.slow
def test_files_and_random_weights_are_prepared_for_as_all_tags_agree(monkeypatch, toy, tmp_path):
    """A file of SigLIP's weights does not record that images are squashed, and open_clip would crop."""
    assert models.load("Toy", "random").preprocess == Preprocess(24)
    squash = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, "Toy", {"one": squash, "two": {**squash, "interpolation": "bilinear"}}
    )
    torch.save(toy, tmp_path / "weights.pt")
    for pretrained in ("random", str(tmp_path / "weights.pt")):
        encoder = models.load("Toy", pretrained)
        assert encoder.preprocess == Preprocess(24, "squash", "bicubic")
        assert encoder.std.flatten().tolist() == [0.25] * 3


@pytest.mark.slow
def test_tags_bring_their_quickgelu_and_a_failed_download_is_said(monkeypatch, toy, tmp_path, same):
    save_file(toy, tmp_path / "tag.safetensors")
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Toy", {"tag": {"quick_gelu": True, "resize_mode": "squash"}})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(tmp_path / "tag.safetensors"))
    encoder = models.load("Toy", "tag")
    assert isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)
    assert same(encoder.clip.state_dict(), toy) and encoder.preprocess.resize_mode == "squash"

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    with pytest.raises(UserError, match=r"Cannot load the model 'Toy': .*no network"):
        models.load("Toy", "tag")


@pytest.fixture
def repository(monkeypatch, model_directory, tmp_path):
    """A hub repository "owner/model" of files in a folder; nothing is downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    folder = shutil.copytree(model_directory, tmp_path / "repository")

    def download(repo_id, filename):
        if repo_id != "owner/model":
            raise LocalEntryNotFoundError("offline")
        if not (folder / filename).is_file():
            raise RemoteEntryNotFoundError(
                "no such file", response=httpx.Response(404, request=httpx.Request("GET", "http://x"))
            )
        return str(folder / filename)

    def snapshot(repo_id, allow_patterns):
        download(repo_id, "open_clip_config.json")
        return str(folder)

    httpx = pytest.importorskip("httpx")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return folder


def test_a_hub_name(repository, same):
    encoder = models.load("hf-hub:owner/model")
    assert same(encoder.clip.state_dict(), load_file(repository / "open_clip_model.safetensors"))
    (repository / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"'owner/model' has no open_clip_model\.safetensors or open_clip_pytorch_model\.bin"):
        models.load("hf-hub:owner/model")
    assert models.load("hf-hub:owner/model", "random").image_size == 48
    with pytest.raises(UserError, match=r"'owner/other' is not in the cache, and the hub cannot be reached"):
        models.load("hf-hub:owner/other")


def test_a_hub_name_whose_tokenizer_has_code_is_not_run(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PWNED", str(tmp_path / "PWNED"))
    config = json.loads((repository / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/model"
    (repository / "open_clip_config.json").write_text(json.dumps(config))
    (repository / "tokenizer.json").write_text("{}")
    (repository / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}))
    (repository / "tok.py").write_text("import os; open(os.environ['PWNED'], 'w').close()")
    with pytest.raises(UserError, match="'hf-hub:owner/model' has Python code for its tokenizer"):
        models.load("hf-hub:owner/model")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "/cache/x"), "cannot be stored in /cache/x: no space is left on the disk"),
        (ConnectionRefusedError(111, "Connection refused"), "the hub cannot be reached"),
        (TimeoutError(), "the hub cannot be reached"),
        (RuntimeError("a class of its transport"), r"cannot be reached \(a class of its transport\)"),
    ],
)
def test_why_a_hub_does_not_give_a_file(monkeypatch, error, message):
    import huggingface_hub

    def fail(**_):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=message):
        models.load("hf-hub:owner/model")


def test_a_file_given_as_the_model(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="is a file: give the architecture as --model"):
        models.load(str(tmp_path / "weights.pt"), "random")


def test_a_tokenizer_that_cannot_be_had(repository):
    with pytest.raises(
        UserError, match=r"the tokenizer of 'ViT-B-16-SigLIP': .*'timm/ViT-B-16-SigLIP' is not in the cache"
    ) as error:
        models.load("ViT-B-16-SigLIP", "webli")
    assert len(str(error.value).splitlines()) == 1


def test_a_directory_may_hold_its_own_tokenizer(tmp_path, monkeypatch):
    """SigLIP's tokenizer without a hub: its files are next to the weights."""
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", "</s>", "a", "cat", "dog"])}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder = tmp_path / "siglip"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
    text = {
        "context_length": 8,
        "vocab_size": 5,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "hf_tokenizer_name": "owner/elsewhere",
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    vision = {"image_size": 24, "patch_size": 12, "width": 32, "layers": 1, "head_width": 16}
    model = {"embed_dim": 16, "init_logit_bias": -10, "vision_cfg": vision, "text_cfg": text}
    clip = open_clip.CustomTextCLIP(**model)
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": {**model, "custom_text": True}, "preprocess_cfg": {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    encoder = models.load(str(folder))
    tokens = encoder.tokenize(["A cat.", "dog"])
    assert tokens.tolist() == [[2, 3, 1, 1, 1, 1, 1, 1], [4, 1, 1, 1, 1, 1, 1, 1]]
    assert encoder.context_length == 8 and encoder.preprocess.resize_mode == "squash"
    assert torch.equal(encoder.encode_texts(tokens), encoder.encode_texts_plain(tokens))
    before = weights_sha256(str(folder))
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    assert weights_sha256(str(folder)) != before


def test_hashes_cover_every_kind_of_weights(toy, tmp_path, model_directory):
    seen = set()
    for suffix in (".pt", ".pth", ".bin", ".safetensors"):
        file = tmp_path / f"weights{suffix}"
        file.write_bytes(suffix.encode())
        seen.add(weights_sha256("Toy", str(file)))
        folder = shutil.copytree(model_directory, tmp_path / suffix)
        before = weights_sha256(str(folder))
        (folder / f"extra{suffix}").write_bytes(f"more {suffix}".encode())
        seen.add(weights_sha256(str(folder)))
        assert weights_sha256(str(folder)) != before
    assert len(seen) == 8 and None not in seen
    assert weights_sha256("ViT-B-16", "openai") is None and weights_sha256("tiny", "random") is None
    assert weights_sha256("tiny")


def test_random_weights_come_from_the_generator(model_directory):
    torch.manual_seed(1)
    one = models.load(str(model_directory), "random")
    torch.manual_seed(1)
    two = models.load(str(model_directory), "random")
    stored = models.load(str(model_directory))
    weight = "clip.visual.conv1.weight"
    assert torch.equal(one.state_dict()[weight], two.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], stored.state_dict()[weight])


def test_random_weights_need_no_weights_in_the_directory(model_directory, tmp_path):
    folder = shutil.copytree(model_directory, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(UserError, match=r"has no weights .* give --pretrained random"):
        models.load(str(folder))
    torch.manual_seed(1)
    without = models.load(str(folder), "random")
    torch.manual_seed(1)
    expected = models.load(str(model_directory), "random")
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in without.state_dict().items())
    assert without.pretrained == "random" and without.preprocess == expected.preprocess and without.notes == ()


def test_an_architecture_without_a_tag_lists_the_tags():
    with pytest.raises(UserError, match=r"--pretrained, one of: .*openai.*random, or a weights file"):
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


def test_the_models_that_are_listed_exist():
    for name, text in models.KNOWN.items():
        if name not in SHIPPED:
            tag = text.removeprefix("pretrained: ").split(" ")[0]
            assert tag in open_clip.list_pretrained_tags_by_model(name)


def test_the_tiny_model_that_reads_has_the_text_tower_and_the_files_of_the_tiny_one():
    tiny, words = SHIPPED["tiny"], SHIPPED["tiny-words"]
    for name in ("open_clip_config.json", "bpe.txt.gz"):
        assert (tiny / name).read_bytes() == (words / name).read_bytes()
    first, second = models.load("tiny"), models.load("tiny-words")
    tokens = first.tokenize(["rain.", "a road sign with a bus."])
    assert torch.equal(tokens, second.tokenize(["rain.", "a road sign with a bus."]))
    # The weights are stored in half precision.
    torch.testing.assert_close(first.encode_texts(tokens), second.encode_texts(tokens), atol=2e-3, rtol=0)
    patches = [encoder.clip.visual.conv1.weight for encoder in (first, second)]
    assert not torch.allclose(*patches, atol=2e-3)
    assert all(p.dtype == torch.float32 for p in second.parameters())
