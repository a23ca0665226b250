"""LoRA: it is added once, the right tensors train, and it merges, restarts and takes part in arithmetic on weights."""

import contextlib
import copy
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from models import lora, tuning
from models.registry import UserError
from models.weights import interpolate

FAKES = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "towers.py"))
small, inputs, close = (FAKES[name] for name in ("small", "inputs", "close"))
KINDS = ("clip", "siglip", "coca", "eva02")
EVERYWHERE = "qkvo,fc,proj"
ROLES = {"qv": (0, 2), EVERYWHERE: (0, 1, 2)}


def features(model):
    pixels, tokens = inputs(model)
    return torch.cat([model.encode_images(pixels), model.encode_texts(tokens), model.encode_texts_plain(tokens)])


def randomise(model, seed=0):
    """Give every trainable tensor a value, so that no part of LoRA is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuning.trainable(model):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.touch_text()


def by_hand(adapted, plain, scale, thirds):
    """Add scale * B A to a plain model, reading A, B and their rows from the names."""
    tensors = dict(adapted.named_parameters())
    targets = dict(plain.named_parameters())
    changed = set()
    with torch.no_grad():
        for name in tensors:
            if name.endswith(".0.A"):
                owner, tensor = name.removesuffix(".0.A").split(".parametrizations.")
                a, b, target = tensors[name], tensors[f"{name[:-1]}B"], targets[f"{owner}.{tensor}"]
                changed.add(f"{owner}.{tensor}")
                if len(a) == 1:
                    target += scale * b[0] @ a[0]
                    continue
                d = target.shape[0] // 3
                for pair, third in enumerate(thirds):
                    target[third * d : (third + 1) * d] += scale * torch.einsum("or,ri->oi", b[pair], a[pair])
            elif ".lora_A." in name:
                owner = name.split(".lora_A.")[0]
                changed.add(f"{owner}.weight")
                targets[f"{owner}.weight"] += scale * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
    plain.touch_text()
    return changed


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("targets", ROLES)
def test_the_change_is_added_once(kind, targets, monkeypatch):
    """In training, in evaluation and in inference mode, however often. IIMM's code adds it again in every forward pass."""
    plain, adapted = small(kind, monkeypatch).double(), small(kind, monkeypatch)
    tuning.apply(adapted, "lora", rank=3, targets=targets, scale=0.7)
    adapted.double()
    with torch.no_grad():
        # B = 0 has no effect. Matrix products differ in the last bit with a matrix's alignment in memory.
        torch.testing.assert_close(features(adapted), features(plain), rtol=0, atol=1e-14)
    randomise(adapted)
    before = features(plain).detach()
    changed = by_hand(adapted, plain, 0.7, ROLES[targets])
    expected = features(plain).detach()
    assert (expected - before).abs().max() > 1e-3
    adapted.train()
    for _ in range(3):
        torch.testing.assert_close(features(adapted).detach(), expected, rtol=0, atol=1e-10)
    adapted.eval()
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode, torch.no_grad):
        with context():
            torch.testing.assert_close(features(adapted).clone(), expected, rtol=0, atol=1e-10)
    blocks = {"clip": 4, "siglip": 4, "coca": 4, "eva02": 4}[kind]
    per_block = {"qv": 1, EVERYWHERE: 4}[targets]
    # EVA-02's image tower has separate matrices for q, k and v, and two for the first layer of the MLP.
    extra = {"qv": 2, EVERYWHERE: 6}[targets] if kind == "eva02" else 0
    assert len(changed) == blocks * per_block + extra


def test_keys_rows_and_everything_else_stay_to_the_bit(kind, monkeypatch):
    plain, adapted = small(kind, monkeypatch), small(kind, monkeypatch)
    tuning.apply(adapted, "lora")
    randomise(adapted)
    before, after = plain.state_dict(), tuning.weights(adapted)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    fused = {name for name in changed if name.endswith(("in_proj_weight", "qkv.weight"))}
    assert {name.rpartition("attn.")[2] for name in changed - fused} <= {"q_proj.weight", "v_proj.weight"}
    assert fused and (kind == "eva02") == (changed != fused)
    for name in fused:
        d = len(before[name]) // 3
        q, k, v = ((after[name] - before[name])[i * d : (i + 1) * d] for i in range(3))
        assert (k == 0).all() and (q != 0).any() and (v != 0).any()
        assert torch.linalg.matrix_rank(q.double(), rtol=1e-4) == torch.linalg.matrix_rank(v.double(), rtol=1e-4) == 4


@pytest.mark.parametrize("targets", ["qv", EVERYWHERE])
def test_every_trainable_tensor_gets_a_gradient(kind, targets, monkeypatch):
    model = small(kind, monkeypatch)
    trained = tuning.apply(model, "lora", targets=targets)

    def backward():
        model.zero_grad()
        pixels, tokens = inputs(model)
        logits = model.logits(model.encode_images(pixels), model.encode_texts(tokens))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        return {n: float(p.grad.abs().sum()) for n, p in model.named_parameters() if p.requires_grad}

    first = backward()
    assert len(first) == len(trained)
    for name, size in first.items():
        assert (size > 0) == name.endswith((".B", ".lora_B.default.weight")), name
    torch.optim.SGD(trained, lr=0.1).step()
    assert all(size > 0 for size in backward().values())


def test_gradients_are_those_of_the_product(monkeypatch):
    """dL/dB = scale * G A^T and dL/dA = scale * B^T G, with G the gradient of the whole matrix in a plain model."""
    plain, adapted = small("clip", monkeypatch).double(), small("clip", monkeypatch)
    tuning.apply(adapted, "lora", scale=0.7)
    adapted.double()
    randomise(adapted)
    by_hand(adapted, plain, 0.7, (0, 2))
    direction = torch.randn(10, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for model in (plain, adapted):
        (features(model) * direction).sum().backward()
    whole = plain.clip.visual.transformer.resblocks[1].attn.in_proj_weight.grad
    update = adapted.clip.visual.transformer.resblocks[1].attn.parametrizations.in_proj_weight[0]
    for pair, rows in enumerate((slice(0, 32), slice(64, 96))):
        torch.testing.assert_close(update.B.grad[pair], 0.7 * whole[rows] @ update.A[pair].T.detach())
        torch.testing.assert_close(update.A.grad[pair], 0.7 * update.B[pair].T.detach() @ whole[rows])


@pytest.mark.parametrize("targets", ["qv", EVERYWHERE])
def test_merging_leaves_a_plain_model_with_the_same_features(kind, targets, monkeypatch):
    plain, model = small(kind, monkeypatch), small(kind, monkeypatch)
    tuning.apply(model, "lora", targets=targets)
    randomise(model)
    with torch.no_grad():
        before, theta, version = features(model), tuning.weights(model), model.text_version
        lora.merge(model)
        assert (features(model) - before).abs().max() < 1e-5
    assert model.text_version > version
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    merged = model.state_dict()
    assert merged.keys() == plain.state_dict().keys() and all(torch.equal(merged[name], theta[name]) for name in theta)
    # Another tuning while LoRA is in place.
    tuning.apply(model, "full")
    assert len(tuning.trainable(model)) == len(tuning.apply(plain, "full"))


@pytest.mark.parametrize("targets", ["qv", EVERYWHERE])
def test_another_tuning_merges_first(targets, toy_encoder):
    plain, encoder = toy_encoder(), toy_encoder()
    tuning.apply(encoder, "lora", targets=targets)
    randomise(encoder)
    theta = tuning.weights(encoder)
    trained = tuning.apply(encoder, "lora", rank=2, targets=targets)
    assert {min(p.shape[-2:]) for p in trained} == {2}
    again = tuning.weights(encoder)
    assert theta.keys() == again.keys() and all(torch.equal(theta[name], again[name]) for name in theta)
    tuning.apply(encoder, "full")
    assert set(vars(encoder.clip)) == set(vars(plain.clip)) and encoder.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["qv", EVERYWHERE])
def test_a_state_dict_brings_everything_back(kind, targets, monkeypatch):
    one, two = small(kind, monkeypatch), small(kind, monkeypatch)
    for model, seed in ((one, 1), (two, 2)):
        tuning.apply(model, "lora", targets=targets)
        randomise(model, seed)
    saved = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    two.load_state_dict(saved)
    with torch.no_grad():
        close(features(one), features(two))
    theta = {name: tensor.clone() for name, tensor in small(kind, monkeypatch).state_dict().items()}
    for model in (one, two):
        tuning.set_weights(model, theta)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_copy_is_a_model_of_its_own(kind, monkeypatch):
    """Avalanche's LwF deep-copies the model."""
    model = small(kind, monkeypatch)
    tuning.apply(model, "lora", targets=EVERYWHERE)
    randomise(model)
    features(model).sum().backward()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = features(model)
        close(features(twin), before)
        randomise(twin, seed=5)
        assert not torch.allclose(features(twin), before, atol=1e-3)
        close(features(model), before)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["qv", EVERYWHERE])
def test_interpolating_weights(kind, targets, monkeypatch):
    """Between the start and the trained model: bit-exact at 0 and at 1, and half the update at 0.5."""
    plain, model = small(kind, monkeypatch), small(kind, monkeypatch)
    tuning.apply(model, "lora", targets=targets)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    theta_0 = tuning.weights(model)
    assert all(torch.equal(theta_0[name], tensor) for name, tensor in plain.state_dict().items())
    randomise(model)
    theta_1 = tuning.weights(model)
    with torch.no_grad():
        trained = features(model)
        tuning.set_weights(model, interpolate(theta_0, theta_1, 1.0))
        torch.testing.assert_close(features(model), trained, rtol=0, atol=1e-5)
        tuning.set_weights(model, interpolate(theta_0, theta_1, 0.5))
        for site in lora.sites(model):
            middle = (theta_0[site.name] + theta_1[site.name]) / 2
            torch.testing.assert_close(site.base, middle)
            assert torch.equal(site.effective(), site.base)
        randomise(model, seed=3)
        version = model.text_version
        tuning.set_weights(model, theta_0)
        assert model.text_version > version
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, start[name]), name


def test_live_tensors_are_the_weights_after_set_weights(kind, monkeypatch):
    model = small(kind, monkeypatch)
    tuning.apply(model, "lora", targets=EVERYWHERE)
    theta = tuning.weights(model)
    tensors = tuning.live(model)
    assert tensors.keys() == theta.keys() and all(torch.equal(tensors[name], theta[name]) for name in theta)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.mul_(2)
    assert all(torch.equal(tensor, 2 * theta[name]) for name, tensor in tuning.weights(model).items())


def test_weights_of_another_model_are_refused(encoder):
    tuning.apply(encoder, "lora")
    theta = tuning.weights(encoder)
    theta["clip.more"] = theta.pop("clip.visual.proj")
    with pytest.raises(RuntimeError, match=r"clip\.visual\.proj"):
        tuning.set_weights(encoder, theta)


def test_computing_the_matrix_once_a_pass_changes_nothing(kind, monkeypatch):
    """nn.MultiheadAttention reads its matrix several times. The encoder keeps it for the pass."""
    model = small(kind, monkeypatch)
    tuning.apply(model, "lora")
    randomise(model)
    calls = []
    forward = lora.RankUpdate.forward
    monkeypatch.setattr(lora.RankUpdate, "forward", lambda self, weight: calls.append(1) or forward(self, weight))
    with torch.no_grad():
        stored = features(model)
        once = len(calls)
        monkeypatch.setattr(parametrize, "cached", contextlib.nullcontext)
        close(features(model), stored)
    assert once < len(calls) - once or kind == "siglip"
    fused = sum(isinstance(m, lora.RankUpdate) for m in model.modules())
    text = sum(isinstance(m, lora.RankUpdate) for n, m in model.named_modules() if "visual" not in n)
    assert once == fused + text, "each matrix once for the images, the text tower's once more for the second way"


def test_peft_has_the_linear_layers_and_no_attention(monkeypatch):
    from peft.tuners.lora.layer import Linear, MultiheadAttention

    for kind in ("clip", "eva02"):
        model = small(kind, monkeypatch)
        tuning.apply(model, "lora", targets=EVERYWHERE)
        wrapped = {name.rsplit(".", 1)[1] for name, m in model.named_modules() if isinstance(m, Linear)}
        own = {"proj", "q_proj", "k_proj", "v_proj", "fc1_g", "fc1_x", "fc2"} if kind == "eva02" else set()
        assert wrapped == {"c_fc", "c_proj"} | own
        assert not any(isinstance(m, MultiheadAttention) for m in model.modules())
        # open_clip asks the first layer of an MLP for its precision.
        assert model.clip.transformer.resblocks[0].mlp.c_fc.weight.dtype == torch.float32 if kind == "clip" else True


def test_towers_and_targets(encoder):
    tuning.apply(encoder, "lora", towers="image", targets="fc, k")
    changed = {site.name for site in lora.sites(encoder)}
    block = "clip.visual.transformer.resblocks.{}.{}"
    assert changed == {block.format(i, n) for i in (0, 1) for n in ("attn.in_proj_weight", "mlp.c_fc.weight")}
    assert not tuning.trains_text(encoder)
    tuning.apply(encoder, "lora", towers="text")
    assert tuning.trains_text(encoder) and all(".visual." not in site.name for site in lora.sites(encoder))
    with pytest.raises(UserError, match=r"targets must be made of q, k, v, o, fc, proj, got 'qz'"):
        tuning.apply(encoder, "lora", targets="qz")
    with pytest.raises(UserError, match=r"rank must be at least 1"):
        tuning.apply(encoder, "lora", rank=0)
    assert tuning.options_of("lora")(targets="v,proj+qfc").roles == ("q", "v", "fc", "proj")


@pytest.mark.parametrize("kind", ["clip", "eva02"])
def test_a_starts_small_and_b_at_zero(kind, monkeypatch):
    model = small(kind, monkeypatch)
    torch.manual_seed(0)
    tuning.apply(model, "lora", rank=16)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.endswith((".B", "lora_B.default.weight")):
            assert (parameter == 0).all()
        elif parameter.requires_grad:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.2) and abs(parameter.mean().item()) < 0.004
