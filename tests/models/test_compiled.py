"""Compiled blocks of the towers against the blocks as they are."""

import pytest
import torch

from models import compiled, tuning
from models.compiled import compile_blocks
from models.registry import UserError


@pytest.fixture(autouse=True)
def fresh():
    yield
    torch.compiler.reset()


def train(encoder, steps):
    """Return the losses of some steps of SGD."""
    optimizer, losses = torch.optim.SGD(tuning.trainable(encoder), lr=0.1), []
    generator = torch.Generator().manual_seed(0)
    tokens = encoder.tokenize(["a cat", "two dogs"])
    for _ in range(steps):
        pixels = torch.randint(0, 256, (4, 3, 48, 48), generator=generator, dtype=torch.uint8)
        optimizer.zero_grad()
        logits = encoder.logits(encoder.encode_images(pixels), encoder.encode_texts(tokens))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", ["full", "lora"])
def test_losses_agree_to_rounding(toy_encoder, name):
    """The compiler's back end is left out: what is tested is that blocks, tunings and gradients pass through it."""
    both = []
    for compiles in (False, True):
        encoder = toy_encoder().train()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            tuning.apply(encoder, name)
        if compiles:
            compile_blocks(encoder, "aot_eager")
        both.append(train(encoder, 3))
        assert all((block._compiled_call_impl is not None) == compiles for block in encoder.clip.visual.transformer.resblocks)
    assert len(set(both[0])) == 3
    torch.testing.assert_close(*map(torch.tensor, both), rtol=1e-5, atol=0)


def test_without_a_compiler(toy_encoder, monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"--compile blocks needs a C\+\+ compiler .* or use --compile off"):
        compile_blocks(toy_encoder())
