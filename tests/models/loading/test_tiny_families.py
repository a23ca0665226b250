"""The tiny models of other families: messages while weights are absent, and their weights and tunings."""

import re

import pytest
import torch
from torch import nn

import models
from benchmarks.scenario import scenario
from harness.display.lists import print_list
from models import tuning
from models.loading import local_files
from models.loading.local_files import FAMILIES, SHIPPED, is_here, weights_sha256
from models.registry import UserError
from strategies.engine.strategy import Strategy

# Width 128, four image blocks and three text blocks. Biases of a block: query, key and value 3 d (EVA-02: no key), output d,
# MLP 4 d + d, two norms 2 d. EVA-02's block has two more norms, of 128 and 341 channels, and SwiGLU two inner biases of 341.
IMAGE, TEXT, D = 4, 3, 128
BIASES = {"tiny-eva02": IMAGE * (7 * D + 3 * 341) + TEXT * 11 * D}


@pytest.fixture
def absent(monkeypatch, tmp_path):
    """Copies of the folders of all families without their weights."""
    for name in FAMILIES:
        (tmp_path / name).mkdir()
        for file in ("open_clip_config.json", "bpe.txt.gz"):
            (tmp_path / name / file).write_bytes((SHIPPED[name] / file).read_bytes())
        monkeypatch.setitem(local_files.SHIPPED, name, tmp_path / name)


@pytest.mark.parametrize("name", FAMILIES)
def test_absent_weights_are_one_sentence(name, absent, capsys):
    expected = rf"The weights of '{name}' are not in this copy .*tools\.pretrain --family {FAMILIES[name]}"
    for load in (models.load, weights_sha256):
        with pytest.raises(UserError, match=expected):
            load(name)
    print_list("models")
    assert name not in (out := capsys.readouterr().out) and "tiny-words" in out


def test_random_weights_need_no_file(absent):
    assert models.load("tiny-eva02", "random").feature_dim == 128


def test_models_with_weights_are_listed(absent, tmp_path, capsys):
    (tmp_path / "tiny-coca" / "open_clip_model.safetensors").write_bytes(b"")
    print_list("models")
    out = capsys.readouterr().out
    assert "tiny-coca" in out and "tiny-siglip" not in out


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_fit_and_are_small(name):
    if not is_here(name):
        pytest.skip(f"the weights of {name} are not in this copy")
    assert (SHIPPED[name] / "open_clip_model.safetensors").stat().st_size < 8e6
    encoder = models.load(name)
    features = encoder.encode_texts(encoder.tokenize(["a photo of a cat.", "rain."])).detach()
    assert features.shape == (2, 128) and float(features[0] @ features[1]) < 0.999
    scale, bias = encoder.clip.logit_scale.exp().item(), getattr(encoder.clip, "logit_bias", None)
    assert (bias is not None) == (name == "tiny-siglip")
    assert scale == pytest.approx(100, rel=1e-3) if name == "tiny-cone" else 5 < scale < 100


def trained(encoder):
    return {name for name, p in encoder.clip.named_parameters() if p.requires_grad}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_the_five_tunings_train_what_they_name(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = models.load(name, "random")
    blocks = r"(visual\.)?(transformer\.resblocks|trunk\.blocks)\.|text\.transformer\.resblocks\."
    everything = {n: p for n, p in encoder.clip.named_parameters() if not n.startswith("text_decoder.")}
    scale = {n for n in everything if n.startswith("logit_")}
    tuning.apply(encoder, "full")
    assert trained(encoder) == everything.keys() - scale
    tuning.apply(encoder, "full", logit_scale=True)
    assert trained(encoder) == everything.keys()
    assert scale == ({"logit_scale", "logit_bias"} if name == "tiny-siglip" else {"logit_scale"})
    biases = tuning.apply(encoder, "bitfit")
    assert all(re.match(blocks, n) and n.endswith("bias") for n in trained(encoder))
    assert sum(p.numel() for p in biases) == BIASES.get(name, (IMAGE + TEXT) * 11 * D)
    attention = tuning.apply(encoder, "attention")
    ending = r"attn\.(in_proj_weight|qkv\.weight|[qkv]_proj\.weight)$"
    assert all(re.match(blocks, n) and re.search(ending, n) for n in trained(encoder))
    assert sum(p.numel() for p in attention) == (IMAGE + TEXT) * 3 * D * D
    rank = 2
    low_rank = tuning.apply(encoder, "lora", rank=rank)
    assert sum(p.numel() for p in low_rank) == (IMAGE + TEXT) * 2 * 2 * rank * D
    adapters = tuning.apply(encoder, "adapter")
    assert sum(p.numel() for p in adapters) == 4 * D * D // 4 and not trained(encoder)


def test_the_logit_bias_moves_no_answer_and_gets_no_gradient():
    """A softmax over classes does not see a shared bias, so `full` with the logit scale has no gradient for SigLIP's bias."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = models.load("tiny-siglip", "random").double()
    tuning.apply(encoder, "full", logit_scale=True)
    pixels = torch.rand(4, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images, texts = encoder.encode_images(pixels), encoder.encode_texts(encoder.tokenize(["a cat.", "a dog.", "rain."]))
    logits = encoder.logits(images, texts)
    torch.testing.assert_close(logits, 10 * images @ texts.T - 10)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 1])).backward()
    assert abs(encoder.clip.logit_bias.grad.item()) < 1e-12 < abs(encoder.clip.logit_scale.grad.item())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-siglip", "tiny-coca"])
def test_a_resumed_run_is_the_uninterrupted_one(name, toy_domain, same, go_on):
    """The logit bias, and CoCa's decoder, which does not train, are in the weights of a checkpoint."""
    options = Strategy.Options(iterations=2, lr=1e-2, batch_size=8, warmup=0)

    def strategy():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = models.load(name, "random")
        return Strategy(encoder=encoder, options=options, tuning_name="full", tuning_options={"logit_scale": True})

    whole = strategy()
    tasks = scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)], encoder=whole.encoder).train_stream
    whole.train(tasks[0], eval_streams=[])
    weights = {n: t.clone() for n, t in whole.encoder.state_dict().items()}
    state = whole.state()
    whole.train(tasks[1], eval_streams=[])
    resumed = strategy()
    go_on(resumed, weights, state, tasks[1])
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict())


def test_random_weights_of_coca_are_the_same_again():
    with torch.random.fork_rng():
        first, second = (torch.manual_seed(0) and models.load("tiny-coca", "random").clip.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["text_decoder.text_projection"].std().item() == pytest.approx(128**-0.5, rel=0.01)
