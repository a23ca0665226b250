"""Models of transformers, saved by transformers itself: the same tensors, the same tokens, the same features."""

import gzip
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import models
from models.loading.local_files import SHIPPED
from models.loading.transformers_names import to_open_clip
from models.registry import UserError
from models.transforms import Preprocess

pytestmark = pytest.mark.slow

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGES = {"image_size": 24, "patch_size": 8}
TEXTS = ["a photo of a cat.", "Two red boats on the sea", "x"]


def clip_tokenizer(folder):
    """Write the tokenizer of `tiny` as transformers writes CLIP's; return the size of its vocabulary and the end of text."""
    from transformers import CLIPTokenizer

    with gzip.open(SHIPPED["tiny"] / "bpe.txt.gz", "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1:] if line]
    ours = models.load("tiny")._tokenizer.encoder
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(name, name): number for name, number in ours.items()}
    CLIPTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    return len(vocabulary), vocabulary["<|endoftext|>"]


def siglip_tokenizer(folder):
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<unk>", "</s>", "a", "photo", "of", "cat", "red"])}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def changed(folder, file, **values):
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **values}))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("hf-clip")
    vocabulary, end = clip_tokenizer(folder)
    text = {**SIZES, "vocab_size": vocabulary, "max_position_embeddings": 16, "eos_token_id": end}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config={**SIZES, **IMAGES}, projection_dim=20)).eval()
    model.save_pretrained(folder)
    processor = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}, "do_center_crop": True}
    colours = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**processor, **colours}))
    return folder, model


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    from transformers import SiglipConfig, SiglipModel

    folder = tmp_path_factory.mktemp("hf-siglip")
    siglip_tokenizer(folder)
    text = {**SIZES, "vocab_size": 7, "max_position_embeddings": 8, "projection_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SiglipModel(SiglipConfig(text_config=text, vision_config={**SIZES, **IMAGES})).eval()
        # transformers starts position embeddings, probe and biases so near to zero that an error would not show.
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder, model


def compare(encoder, model, tokens):
    """Features and logits of the two programs, on the same pixels and tokens."""
    side = encoder.image_size
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=pixels)
        images, texts = encoder.encode_images(pixels), encoder.encode_texts(encoder.tokenize(TEXTS))
        torch.testing.assert_close(images, theirs.image_embeds, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(texts, theirs.text_embeds, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(encoder.logits(images, texts), theirs.logits_per_image, atol=5e-5, rtol=1e-5)


def test_a_directory_of_clip(clip):
    from transformers import CLIPTokenizer

    folder, model = clip
    encoder = models.load(str(folder))
    assert encoder.preprocess == Preprocess(24, "shortest", "bicubic") and encoder.notes == ()
    assert encoder.mean.flatten().tolist() == pytest.approx([0.48, 0.46, 0.41])
    state, theirs = encoder.clip.state_dict(), model.state_dict()
    layer = "text_model.encoder.layers.1.self_attn.{}_proj.weight"
    assert torch.equal(
        state["transformer.resblocks.1.attn.in_proj_weight"], torch.cat([theirs[layer.format(r)] for r in "qkv"])
    )
    assert torch.equal(state["visual.proj"], theirs["visual_projection.weight"].T)
    assert torch.equal(state["visual.ln_pre.bias"], theirs["vision_model.pre_layrnorm.bias"])
    assert sum(t.numel() for t in state.values()) == sum(t.numel() for t in theirs.values()), "every tensor is used"
    tokens = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=16, return_tensors="pt").input_ids
    assert torch.equal(encoder.tokenize(TEXTS), tokens)
    compare(encoder, model, tokens)


def test_a_directory_of_siglip(siglip):
    folder, model = siglip
    encoder = models.load(str(folder))
    assert encoder.preprocess == Preprocess(24, "squash", "bicubic"), "SigLIP's, without a file that says so"
    state, theirs = encoder.clip.state_dict(), model.state_dict()
    fused = theirs["vision_model.head.attention.in_proj_weight"]
    pool = [state[f"visual.trunk.attn_pool.{part}.weight"] for part in ("q", "kv")]
    assert torch.equal(torch.cat(pool), fused) and torch.equal(
        state["text.text_projection.bias"], theirs["text_model.head.bias"]
    )
    assert sum(t.numel() for t in state.values()) == sum(t.numel() for t in theirs.values()), "every tensor is used"
    tokens = encoder.tokenize(TEXTS)
    assert tokens[0].tolist() == [2, 3, 4, 2, 5, 1, 1, 1], "canonical text, padded with the end of text"
    compare(encoder, model, tokens)


def test_a_hub_repository_of_transformers(clip, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    httpx = pytest.importorskip("httpx")
    folder, model = clip

    def download(repo_id, filename):
        if filename == "open_clip_config.json":
            response = httpx.Response(404, request=httpx.Request("GET", "http://x"))
            raise RemoteEntryNotFoundError("no such file", response=response)
        return str(folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, allow_patterns: str(folder))
    encoder = models.load("hf-hub:openai/toy")
    assert torch.equal(encoder.clip.visual.proj, model.visual_projection.weight.T)


def test_a_file_of_clip_for_an_architecture(clip, monkeypatch):
    """The file's names are transformers', and the config.json next to it declares QuickGELU."""
    import open_clip
    from open_clip.transformer import QuickGELU

    folder, model = clip
    blocks = {"width": 32, "layers": 2, "mlp_ratio": 1.5}
    vision = {**blocks, "head_width": 16, **IMAGES}
    size = model.config.text_config.vocab_size
    text = {**blocks, "heads": 2, "context_length": 16, "vocab_size": size}
    architecture = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", architecture)
    file = str(folder / "model.safetensors")
    encoder = models.load("Small", file)
    state = to_open_clip(load_file(file))
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.clip.state_dict().items())
    assert isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)
    assert encoder.notes == (f"{file} was trained with QuickGELU, so Small computes with it",)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"model_type": "siglip2"}, "model_type is 'siglip2', and only 'clip' and 'siglip' can be read"),
        (
            "config.json",
            {"text_config": {"hidden_act": "relu"}},
            r"text_config\.hidden_act is 'relu'; allowed is one of",
        ),
        ("config.json", {"text_config": {"hidden_act": "gelu"}}, "one tower computes quick_gelu and the other does not"),
        ("config.json", {"vision_config": {"hidden_size": 10**9}}, r"vision_config\.hidden_size is 1000000000"),
        ("config.json", {"vision_config": {"image_size": 4000, "patch_size": 1}}, "images have 16,000,000 patches"),
        ("config.json", {"projection_dim": "x"}, "projection_dim is 'x'"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 30}}, "does not give the 24 pixels of the model"),
        ("preprocessor_config.json", {"image_mean": "red"}, "mean is 'red'"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}, "has Python code for its tokenizer"),
    ],
)
def test_settings_that_cannot_be_read_are_one_sentence(clip, tmp_path, file, values, message):
    folder = shutil.copytree(clip[0], tmp_path / "copy")
    stored = json.loads((folder / file).read_text())
    values = {k: {**stored[k], **v} if k.endswith("_config") else v for k, v in values.items()}
    changed(folder, file, **values)
    with pytest.raises(UserError, match=message) as error:
        models.load(str(folder))
    assert len(str(error.value).splitlines()) == 1
