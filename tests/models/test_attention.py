"""The direct path of self-attention, against torch's module and against the formula."""

import copy
import math

import pytest
import torch
from torch import nn

from models import attention
from models.attention import SelfAttention, streamline

B, L, D, H = 3, 5, 8, 2


@pytest.fixture
def pair(monkeypatch):
    """A module of torch and its copy with the direct path, in float64."""
    monkeypatch.setattr(attention, "LEAST", 1)
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(D, H, batch_first=True).double()
    nn.init.normal_(reference.in_proj_bias)
    ours = copy.deepcopy(reference)
    streamline(ours)
    return reference, ours


def causal(length):
    return torch.full((length, length), float("-inf"), dtype=torch.float64).triu(1)


def by_formula(module, x, mask):
    """softmax(Q K^T / sqrt(d) + mask) V, head by head."""
    q, k, v = (x @ w.T + b for w, b in zip(module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True))
    heads = []
    for h in range(H):
        part = slice(h * D // H, (h + 1) * D // H)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(D // H)
        heads.append((scores if mask is None else scores + mask).softmax(-1) @ v[..., part])
    return torch.cat(heads, -1) @ module.out_proj.weight.T + module.out_proj.bias


@pytest.mark.parametrize("mask", [None, causal(L)], ids=["full", "causal"])
def test_features_and_gradients_are_those_of_the_formula_and_of_torch(pair, mask):
    x = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    result = []
    for module in pair:
        out, weights = module(x, x, x, need_weights=False, attn_mask=mask)
        assert weights is None
        result.append((out, *torch.autograd.grad(out.square().sum(), [x, *module.parameters()])))
    torch.testing.assert_close(result[1][0], by_formula(pair[0], x, mask), rtol=1e-12, atol=1e-12)
    for reference, ours in zip(*result, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    # In the precision of the models. In float64 the last bit depends on the processor.
    single = [
        module.float()(*[x.float()] * 3, need_weights=False, attn_mask=None if mask is None else mask.float())[0]
        for module in pair
    ]
    assert torch.equal(*single)


def test_it_is_the_direct_path_that_was_taken(pair, monkeypatch):
    _, ours = pair
    monkeypatch.setattr(nn.MultiheadAttention, "forward", lambda *_, **__: pytest.fail("torch's path"))
    x = torch.randn(B, L, D, dtype=torch.float64)
    ours(x, x, x, need_weights=False)
    masks = torch.randn(B * H, L, L, dtype=torch.float64)
    ours(x, x, x, need_weights=False, attn_mask=masks)


@pytest.mark.parametrize(
    "use",
    [
        lambda m, x: m(x, x, x),
        lambda m, x: m(x, x.clone(), x, need_weights=False),
        lambda m, x: m(x, x, x, need_weights=False, key_padding_mask=torch.zeros(B, L, dtype=torch.bool)),
        lambda m, x: m(x, x, x, need_weights=False, attn_mask=torch.zeros(L, L, dtype=torch.bool)),
        lambda m, x: m(x[0], x[0], x[0], need_weights=False),
        lambda m, x: m(x, x, x, None, False),
    ],
    ids=["weights", "cross", "padding", "boolean-mask", "unbatched", "positional"],
)
def test_every_other_use_is_torchs(pair, use):
    x = torch.randn(B, L, D, dtype=torch.float64)
    reference, ours = (use(module, x) for module in pair)
    torch.testing.assert_close(ours[0], reference[0], rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"batch_first": False}, {"dropout": 0.5}, {"add_bias_kv": True}, {"kdim": 4, "vdim": 4}])
def test_modules_of_other_kinds_take_torchs_path(options, monkeypatch):
    monkeypatch.setattr(attention, "LEAST", 1)
    module = nn.MultiheadAttention(D, H, **{"batch_first": True, **options})
    streamline(module)
    assert type(module) is SelfAttention
    assert not module._is_direct(torch.randn(B, L, D), None)


def test_inference_and_small_batches_are_torchs(pair, monkeypatch):
    _, ours = pair
    x = torch.randn(B, L, D, dtype=torch.float64)
    with torch.no_grad():
        assert not ours._is_direct(x, None)
    assert ours._is_direct(x, None)
    monkeypatch.setattr(attention, "LEAST", x.numel() + 1)
    assert not ours._is_direct(x, None)


def test_the_tiny_model_is_below_the_bound():
    from models.loading.load import load

    encoder, batch = load("tiny"), 128
    visual = encoder.clip.visual
    assert batch * visual.positional_embedding.numel() < attention.LEAST


def test_the_towers_have_it_and_keep_their_tensors(encoder):
    parts = [part for part in encoder.clip.modules() if isinstance(part, nn.MultiheadAttention)]
    assert parts and all(type(part) is SelfAttention for part in parts)
    assert {name for name in parts[0].state_dict()} == {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}


def test_a_step_of_towers_agrees(toy_encoder, monkeypatch):
    pixels = torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8)
    gradients = []
    for least in (2**60, 1):
        monkeypatch.setattr(attention, "LEAST", least)
        encoder = toy_encoder().double()
        tokens = encoder.tokenize(["a cat", "a dog", "a long red bird", "it"])
        loss = encoder.logits(encoder.encode_images(pixels), encoder.encode_texts(tokens)).diag().sum()
        loss.backward()
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    for reference, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)
