"""Trainable parameters of every tuning."""

import logging
import re
import runpy
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from benchmarks.scenario import scenario
from models import TUNINGS, tuning, tuning_options
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.registry import UserError
from models.towers import tower_of
from strategies import peft
from strategies.engine.strategy import Strategy
from strategies.wise_ft import WiSEFT

small = runpy.run_path(str(Path(__file__).parents[1] / "fakes" / "towers.py"))["small"]
KINDS = ("clip", "siglip", "coca", "eva02")
# Trainable tensors and parameters. ViT-B-32's are IIMM's counts. The others follow from 12 blocks per tower of widths 768 and
# 512 (SigLIP: 768 and 768), and from EVA-02's separate matrices for q, k and v, its norms inside attention and MLP, and two
# hidden widths of 2048.
REAL = {
    "ViT-B-32": {
        ("full", "logit_scale=True"): (302, 151_277_313),
        ("bitfit", ""): (144, 168_960),
        ("attention", ""): (24, 30_670_848),
        ("lora", "rank=1"): (48, 61_440),
        ("lora", "rank=4"): (48, 245_760),
        ("lora", "rank=16"): (48, 983_040),
        ("lora", "targets=qvfc"): (96, 245_760 + 12 * 4 * (768 * 5 + 512 * 5)),
        ("lora", "targets=qkvo"): (144 - 48, 2 * 245_760),
        ("adapter", ""): (4, 262_144),
        ("adapter", "reduction=32"): (4, 32_768),
        ("probe", ""): (0, 0),
    },
    "ViT-B-16-SigLIP": {
        ("bitfit", ""): (144, 24 * 11 * 768),
        ("attention", ""): (24, 24 * 3 * 768 * 768),
        ("lora", "rank=1"): (48, 24 * 2 * 2 * 768),
        ("adapter", ""): (4, 4 * 768 * 192),
    },
    "coca_ViT-B-32": {("bitfit", ""): (144, 168_960), ("attention", ""): (24, 30_670_848), ("lora", "rank=1"): (48, 61_440)},
    "EVA02-B-16": {
        ("bitfit", ""): (192, 12 * (7 * 768 + 3 * 2048) + 12 * 11 * 512),
        ("attention", ""): (48, 30_670_848),
        ("lora", "rank=1"): (72, 61_440),
        ("adapter", ""): (4, 262_144),
    },
}


def names(encoder):
    return {n for n, p in encoder.clip.named_parameters() if p.requires_grad}


def count(parameters):
    return len(parameters), sum(p.numel() for p in parameters)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_counts_of_the_real_architectures(name, caplog):
    with caplog.at_level(logging.ERROR), torch.device("meta"):
        clip = open_clip.create_model(name, load_weights=False, device="meta", pretrained_text=False)
    for (tuned, option), expected in REAL[name].items():
        encoder = DualEncoder(clip, None, 224, [0.5] * 3, [0.5] * 3, name).to("meta")
        key, _, value = option.partition("=")
        options = {key: value if key == "targets" else eval(value)} if option else {}
        assert count(tuning.apply(encoder, tuned, **options)) == expected, (tuned, option)


# The tensors inside the residual blocks by name, one pattern per family, without the other parts of its towers.
BLOCK = {
    "clip": r"(visual\.)?transformer\.resblocks\.\d\.",
    "coca": r"(visual|text)\.transformer\.resblocks\.\d\.",
    "siglip": r"(visual\.trunk\.blocks|text\.transformer\.resblocks)\.\d\.",
    "eva02": r"(visual\.trunk\.blocks|text\.transformer\.resblocks)\.\d\.",
}


@pytest.mark.parametrize("kind", KINDS)
def test_bitfit_and_attention_by_name(kind, monkeypatch):
    model = small(kind, monkeypatch)
    inside = [n for n, _ in model.clip.named_parameters() if re.match(BLOCK[kind], n)]
    tuning.apply(model, "bitfit")
    assert names(model) == {n for n in inside if re.search(r"[._](in_proj_)?bias$", n)}
    assert tuning.trains_text(model) and len(names(model)) > 20
    tuning.apply(model, "attention")
    ending = r"attn\.(in_proj_weight|qkv\.weight|[qkv]_proj\.weight)$"
    assert names(model) == {n for n in inside if re.search(ending, n)}
    assert len(names(model)) == (8 if kind == "eva02" else 4)


@pytest.mark.parametrize("name", ["bitfit", "attention"])
def test_the_last_blocks_of_one_tower(name, toy_encoder):
    encoder = toy_encoder()
    tuning.apply(encoder, name, towers="image", blocks=1)
    assert names(encoder) and all(n.startswith("visual.transformer.resblocks.1.") for n in names(encoder))
    assert not tuning.trains_text(encoder)
    tuning.apply(encoder, name, towers="text", blocks=7)
    assert {n.split(".")[2] for n in names(encoder)} == {"0", "1"} and tuning.trains_text(encoder)
    assert all(tower_of(n) == "text" for n in names(encoder))


@pytest.mark.parametrize("name", ["bitfit", "attention"])
def test_the_first_blocks_of_each_tower(name, toy_encoder):
    encoder = toy_encoder()
    tuning.apply(encoder, name, first_blocks=1)
    assert {tower_of(n) for n in names(encoder)} == {"image", "text"} and all("resblocks.0." in n for n in names(encoder))
    tuning.apply(encoder, name, first_blocks=7)
    assert {n.split("resblocks.")[1][0] for n in names(encoder)} == {"0", "1"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [n for n in TUNINGS if n not in ("probe", "frozen")])
def test_what_trains_gets_a_gradient_and_nothing_else_does(name, kind, monkeypatch):
    model = small(kind, monkeypatch)
    # A narrow adapter can be dead after its ReLU from the start.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = tuning.apply(model, name)
        if name == "lora":
            for parameter in trained:
                nn.init.normal_(parameter, std=0.1)
    pixels = torch.randint(0, 256, (4, 3, model.image_size, model.image_size), generator=torch.Generator().manual_seed(0))
    model.train()
    logits = model.logits(model.encode_images(pixels.to(torch.uint8)), model.encode_texts(model.tokenize(["cat", "a dog"])))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0])).backward()
    reached = {id(p) for p in model.parameters() if p.grad is not None}
    assert reached == {id(p) for p in trained} == {id(p) for p in tuning.trainable(model)}
    assert model.tuning == name
    assert tuning.trains_text(model) == (name != "visual")
    text = [p.grad.abs().max() for n, p in model.named_parameters() if p.requires_grad and "visual" not in n]
    assert bool(text) == (name != "visual") and (not text or max(text) > 0)


def test_full_is_everything_but_the_logit_scale(encoder):
    parameters = tuning.apply(encoder, "full")
    everything = {n for n, _ in encoder.clip.named_parameters()}
    assert names(encoder) == everything - {"logit_scale"}
    assert len(parameters) == len(everything) - 1
    tuning.apply(encoder, "full", logit_scale=True)
    assert names(encoder) == everything


def test_visual_and_text_split_the_full_set(encoder):
    tuning.apply(encoder, "full")
    full = names(encoder)
    tuning.apply(encoder, "visual")
    visual = names(encoder)
    assert not tuning.trains_text(encoder)
    tuning.apply(encoder, "text")
    assert tuning.trains_text(encoder)
    assert visual and names(encoder) and visual | names(encoder) == full and not visual & names(encoder)
    assert all(n.startswith("visual.") for n in visual)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("visuall", {}, "Did you mean visual"),
        ("lora", {"rnk": 2}, r"option of the tuning lora 'rnk'\. Did you mean rank"),
        ("bitfit", {"rank": 2}, "Known: blocks, first_blocks, towers"),
        ("probe", {"rank": 2}, "Known: none"),
        ("bitfit", {"towers": "imag"}, r"tuning\.towers 'imag'\. Did you mean image"),
        ("attention", {"blocks": 0}, r"tuning\.blocks must be at least 1, got 0"),
        ("bitfit", {"blocks": 1, "first_blocks": 2}, r"blocks is 1 \(last blocks\) and .*first_blocks is 2: give one"),
    ],
)
def test_mistakes(encoder, name, options, message):
    before = names(encoder)
    with pytest.raises(UserError, match=message):
        tuning.apply(encoder, name, **options)
    assert names(encoder) == before


@pytest.mark.parametrize("name", ["bitfit", "attention", "lora"])
def test_a_tower_without_known_blocks_is_named(name):
    vision = {"image_size": 32, "layers": (1, 1, 1, 1), "width": 8, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1}
    encoder = DualEncoder(open_clip.CLIP(16, vision, text), None, 32, [0.5] * 3, [0.5] * 3, "RN-tiny")
    with pytest.raises(UserError, match=r"The image tower of RN-tiny has no residual attention blocks"):
        tuning.apply(encoder, name)
    tuning.apply(encoder, name, towers="text")
    assert names(encoder) and {tower_of(n) for n in names(encoder)} == {"text"}


def test_every_tuning_has_options_and_a_text():
    assert set(tuning_options.OPTIONS) == set(TUNINGS) and all(TUNINGS.values())
    assert tuning_options.options_of("lora")() == tuning_options.LowRank(rank=4, targets="qv", scale=0.2, towers="both")
    with pytest.raises(UserError, match="Did you mean adapter"):
        tuning_options.options_of("adaptor")


@pytest.mark.parametrize("name", ["bitfit", "attention", "lora", "adapter"])
def test_training_moves_what_trains_and_nothing_else(name, toy_encoder, stream):
    """Two tasks with weight decay: Avalanche and AdamW do not change frozen tensors."""
    options = Strategy.Options(iterations=4, lr=1e-2, batch_size=8, warmup=2, weight_decay=0.1)
    strategy = Strategy(encoder=toy_encoder(), options=options, tuning_name=name)
    before = {n: t.clone() for n, t in strategy.encoder.state_dict().items()}
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    after = strategy.encoder.state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved - {"image_adapter.ratio", "text_adapter.ratio"} == {
        n for n, p in strategy.encoder.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("name", ["visual", "bitfit", "attention", "lora", "adapter"])
def test_wise_ft_back_to_the_start(name, toy_encoder, stream):
    """Alpha = 0 restores the initial encoder under every tuning, task after task: state dicts are bit-exact."""
    options = WiSEFT.Options(iterations=3, lr=1e-2, batch_size=8, warmup=1, alpha=0.0)
    strategy = WiSEFT(encoder=toy_encoder(), options=options, tuning_name=name)
    before = {n: t.clone() for n, t in strategy.encoder.state_dict().items()}
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert strategy.history[0]["loss"] > 0
        assert all(torch.equal(before[n], t) for n, t in strategy.encoder.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bitfit", "attention", "lora", "adapter"])
def test_a_resumed_run_is_the_uninterrupted_one(name, toy_encoder, stream):
    """Modules that a tuning adds are in the encoder's state dict, so a checkpoint of it is sufficient."""
    options = Strategy.Options(iterations=3, lr=1e-2, batch_size=8, warmup=1)
    whole = Strategy(encoder=toy_encoder(), options=options, tuning_name=name)
    whole.train(stream.train_stream[0], eval_streams=[])
    middle = {n: t.clone() for n, t in whole.encoder.state_dict().items()}
    whole.train(stream.train_stream[1], eval_streams=[])
    torch.rand(17)
    resumed = Strategy(encoder=toy_encoder(), options=options, tuning_name=name)
    resumed.prepare_run()
    resumed.encoder.load_state_dict(middle)
    resumed.train(stream.train_stream[1], eval_streams=[])
    for (n, one), two in zip(whole.encoder.state_dict().items(), resumed.encoder.state_dict().values(), strict=True):
        assert torch.equal(one, two), n


@pytest.mark.parametrize(
    ("method", "name"),
    [(peft.BitFit, "bitfit"), (peft.Attention, "attention"), (peft.LoRA, "lora"), (peft.Adapter, "adapter")],
)
def test_the_strategies_of_these_names(method, name, toy_encoder, toy_domain):
    """Plain fine-tuning under another tuning: the same losses as the base strategy with that tuning."""
    stream = scenario([toy_domain("a", 3)])
    options = method.Options(iterations=3, lr=1e-2, batch_size=8)
    assert (options.label_smoothing, options.weight_decay, options.warmup, method.Options().batch_size) == (0, 1e-4, 0, 128)
    torch.manual_seed(0)
    ours = method(encoder=toy_encoder(), options=options)
    torch.manual_seed(0)
    base = Strategy(encoder=toy_encoder(), options=options, tuning_name=name)
    for strategy in (ours, base):
        strategy.train(stream.train_stream[0], eval_streams=[])
    assert ours.encoder.tuning == name and ours.history == base.history
    assert peft.Probe.default_tuning == "probe"


@pytest.mark.parametrize("kind", ["visual", "text"])
def test_weights_of_one_tower_leave_the_text_features_of_another_alone(kind, toy_encoder, toy_domain, monkeypatch):
    """PAINT and merging set weights after every task. A frozen text tower encodes its prompts once."""
    encoder = toy_encoder()
    tuning.apply(encoder, kind)
    classifier, calls = PromptClassifier(encoder).eval(), []
    original = DualEncoder.raw_texts
    monkeypatch.setattr(DualEncoder, "raw_texts", lambda *given: calls.append(1) or original(*given))
    classifier.register_domain(0, toy_domain("a", 3))
    with torch.no_grad():
        before = classifier.text_features(0).clone()
        first, start = len(calls), tuning.weights(encoder)
        moved = {n: t + 0.1 if ("visual" in n) == (kind == "visual") and t.is_floating_point() else t for n, t in start.items()}
        tuning.set_weights(encoder, moved)
        after = classifier.text_features(0)
    assert torch.equal(before, after) == (kind == "visual") and (len(calls) > first) == (kind == "text")
    assert all(torch.equal(tensor, moved[name]) for name, tensor in tuning.weights(encoder).items())


def test_weights_that_do_not_fit_are_named(toy_encoder):
    encoder = toy_encoder()
    theta = tuning.weights(encoder)
    name = next(n for n, t in theta.items() if t.dim() == 2)
    for wrong, message in (
        ({**theta, "clip.other": torch.zeros(1)}, "unknown: clip.other"),
        ({n: t for n, t in theta.items() if n != name}, f"missing: {name}"),
        ({**theta, name: theta[name][:1]}, f"{name}: "),
    ):
        with pytest.raises(RuntimeError, match=re.escape(message)):
            tuning.set_weights(encoder, wrong)
