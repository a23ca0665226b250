"""The families of tiny models: losses against independent formulas, architectures against open_clip's, and a few updates."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import CoCaLoss, SigLipLoss
from safetensors.torch import load_file

import models
from models.loading.local_files import FAMILIES as SHIPPED_FAMILIES
from models.loading.local_files import SHIPPED
from tools import families, pretrain, vocabulary
from tools.families import FAMILIES

TOKENS = 3514
OTHERS = [name for name in FAMILIES if name != "clip"]
# Sizes, the tokenizer and the start of the logit scale may differ from open_clip's models, and nothing else.
SIZES = {
    *("width", "layers", "heads", "head_width", "context_length", "vocab_size", "image_size", "patch_size", "embed_dim"),
    *("timm_model_name", "attn_pooler_heads", "attn_pooler_queries", "hf_tokenizer_name", "tokenizer_kwargs"),
    "init_logit_scale",
}


def unit(rows, width, seed):
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def toy(family, seed=0):
    """A model of a family, as small as it can be, and a batch of six images of three subjects."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = families.make_model(families.configuration(600, 32 if FAMILIES[family].widths else 128, family))
        tokens = torch.randint(1, 598, (3, 16))
        tokens[:, 9], tokens[:, 10:] = 599, 0
        return model, torch.randn(6, 3, 48, 48), tokens, torch.tensor([0, 1, 2, 0, 1, 1])


def test_the_sigmoid_loss_is_a_sum_over_all_pairs():
    images, texts, subjects = unit(4, 5, 0), unit(3, 5, 1), torch.tensor([0, 2, 0, 1])
    expected = 0.0
    for i in range(4):
        for u in range(3):
            logit = 7 * float(images[i] @ texts[u]) - 2.5
            expected += math.log1p(math.exp(-logit if subjects[i] == u else logit))
    loss = families.sigmoid_loss(images, texts, torch.tensor(7.0), torch.tensor(-2.5), subjects)
    assert loss.item() == pytest.approx(expected / 4, rel=1e-5)


def test_the_sigmoid_loss_with_a_caption_for_each_image_is_siglips():
    images, texts, scale, bias = unit(5, 8, 0), unit(5, 8, 1), torch.tensor(10.0), torch.tensor(-10.0)
    ours = families.sigmoid_loss(images, texts, scale, bias, torch.arange(5))
    assert ours.item() == pytest.approx(SigLipLoss()(images, texts, scale, bias).item(), rel=1e-5)


def test_the_caption_loss_is_the_mean_over_real_tokens():
    logits = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    captions = torch.tensor([[4, 2, 5, 0], [4, 5, 0, 0]])
    terms = [
        math.log(sum(math.exp(v) for v in logits[row, place].tolist())) - logits[row, place, captions[row, place + 1]].item()
        for row, place in ((0, 0), (0, 1), (1, 0))
    ]
    assert families.caption_loss(logits, captions).item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_cocas_loss_is_contrastive_plus_twice_the_caption_loss():
    model, images, tokens, subjects = toy("coca")
    out = model(images, tokens[subjects])
    _, caption = CoCaLoss(2.0, 1.0)(
        out["image_features"], out["text_features"], out["logits"], out["labels"], out["logit_scale"]
    )
    texts = F.normalize(model.encode_text(tokens), dim=1)
    stub = SimpleNamespace(
        encode_image=lambda x: out["image_features"], encode_text=lambda x: texts, logit_scale=torch.tensor(math.log(20.0))
    )
    contrastive = families.clip_loss(stub, images, tokens, subjects)
    assert caption > 5 and contrastive > 0.5
    assert families.coca_loss(model, images, tokens, subjects).item() == pytest.approx((contrastive + caption).item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_updates_lower_the_loss(family):
    model, *batch = toy(family)
    model.logit_scale.requires_grad_(FAMILIES[family].trains_scale)
    half = pretrain.HalfCopy(model, FAMILIES[family].loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = []
    for _ in range(5):
        losses.append(half.gradients(*batch).item())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    still = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert still == ({"logit_scale"} if family == "cone" else set())
    # bfloat16 would round the logits' scale and bias, and the starting loss with them.
    model.load_state_dict(before)
    assert losses[0] == pytest.approx(FAMILIES[family].loss(model, *batch).item(), rel=0.02)


def test_logit_scales_and_biases_at_the_start():
    scales = {name: toy(name)[0].logit_scale.exp().item() for name in ("clip", "coca", "cone")}
    assert scales == pytest.approx({"clip": 20, "coca": 20, "cone": 100}, rel=1e-6)
    siglip, eva = toy("siglip")[0], toy("eva02")[0]
    assert siglip.logit_scale.exp().item() == pytest.approx(10) and siglip.logit_bias.item() == -10
    assert eva.logit_scale.exp().item() == pytest.approx(20) and eva.logit_bias is None


def settings(config):
    """Every setting of an open_clip configuration that is not a size: dotted name -> value."""
    flat = {}
    for name, value in config.items():
        if name in SIZES:
            continue
        flat |= {f"{name}.{inner}": v for inner, v in settings(value).items()} if isinstance(value, dict) else {name: value}
    return flat


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *[("clip", "ViT-B-16"), ("cone", "ViT-B-16"), ("siglip", "ViT-B-16-SigLIP"), ("coca", "coca_ViT-B-32")],
        ("eva02", "EVA02-B-16"),
    ],
)
def test_architectures_differ_from_open_clips_in_size_only(family, name):
    ours = settings(families.configuration(TOKENS, 128, family)["model_cfg"])
    assert ours == settings(open_clip.get_model_config(name))


def test_the_small_towers_have_the_parts_of_their_families():
    eva = toy("eva02")[0].visual.trunk
    block = eva.blocks[0]
    assert type(block.mlp).__name__ == "SwiGLU" and block.attn.q_proj is not None and block.attn.norm.weight.shape == (128,)
    # A rotation for each of 6 x 6 patches: sine and cosine of each of a head's 32 channels.
    assert eva.rope is not None and eva.rope.get_embed().shape == (36, 64) and len(eva.blocks) == 4
    siglip = toy("siglip")[0].visual.trunk
    assert siglip.cls_token is None and type(siglip.attn_pool).__name__ == "AttentionPoolLatent" and len(siglip.blocks) == 4
    # Blocks of 12 d^2 + 13 d, patches, positions, the norm, and a pooling of 4 d^2 + 4 d for the attention, 8 d^2 + 5 d for its
    # MLP, 2 d for its norm and d for its query.
    d = 128
    parameters = 4 * (12 * d * d + 13 * d) + (192 * d + d) + 36 * d + 2 * d + 12 * d * d + 12 * d
    assert sum(p.numel() for p in siglip.parameters()) == parameters


@pytest.mark.parametrize("family", OTHERS)
def test_the_configurations_in_the_project_are_those_of_the_pretraining(family):
    folder = SHIPPED[FAMILIES[family].model]
    assert SHIPPED_FAMILIES[folder.name] == family
    assert json.loads((folder / "open_clip_config.json").read_text()) == families.configuration(TOKENS, 128, family)
    assert (folder / "bpe.txt.gz").read_bytes() == (SHIPPED["tiny"] / "bpe.txt.gz").read_bytes()
    assert (folder / "README.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_a_pretrained_folder_loads(family, tmp_path, monkeypatch, capsys):
    generator = torch.Generator().manual_seed(0)

    tokens = vocabulary.load(pretrain.TINY / "bpe.txt.gz")(["a cat.", "a dog."])

    def batches(step, progress):
        return torch.rand(4, 3, 48, 48, generator=generator), tokens, torch.tensor([0, 1, 1, 0])

    monkeypatch.setattr(pretrain, "zero_shot", lambda model, tokenizer: dict.fromkeys(pretrain.mini.STREAM, 50.0))
    pretrain.pretrain(batches, tmp_path, 0, 4, 1e-3, 0, 1e9, iterations=2, family=family)
    assert ("bias -10.00" in capsys.readouterr().out) == (family == "siglip")
    [row] = csv.DictReader((tmp_path / pretrain.LOG).read_text().splitlines())
    assert (row["iteration"], row["images"], row["validation"]) == ("2", "8", "50.0")
    assert bool(row["bias"]) == (family == "siglip")
    stored = load_file(tmp_path / "open_clip_model.safetensors")
    assert all(tensor.dtype == (torch.float16 if tensor.ndim else torch.float32) for tensor in stored.values())
    assert (tmp_path / "open_clip_model.safetensors").stat().st_size < 8e6
    encoder = models.load(str(tmp_path))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
    assert np.isclose(encoder.clip.logit_scale.exp().item(), float(row["scale"]), rtol=1e-3)
