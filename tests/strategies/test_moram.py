"""MoRAM: the mixture of parts by formula, parts of earlier tasks that stay, and LoRA as the case of one task."""

import copy

import pytest
import torch
import torch.nn.functional as F

from models import tuning
from models.parts import mixed_update, part_weights
from strategies.moram import Mixture, MoRAM

QUICK = {"iterations": 3, "batch_size": 20, "warmup": 1, "lr": 0.05, "rank": 2, "most": 2}


def test_weights_by_hand():
    """Scores 3, 0, 4 have length 5: 0.6, 0, 0.8. The two largest at temperature 0.2 are softmax(3, 4)."""
    scores = torch.tensor([[3.0, 0.0, 4.0]])
    lower, higher = 1 / (1 + torch.e), torch.e / (1 + torch.e)
    assert torch.allclose(part_weights(scores, 2, 0.2), torch.tensor([[lower, 0, higher]]))
    assert torch.allclose(part_weights(scores, 2, 0.2, least=0.3), torch.tensor([[0, 0, higher]]))
    # All parts chosen, also with a larger limit.
    expected = torch.softmax(torch.tensor([[3.0, 0.0, 4.0]]), dim=-1)
    assert torch.allclose(part_weights(scores, 3, 0.2), expected) and torch.allclose(part_weights(scores, 9, 0.2), expected)
    assert not part_weights(torch.zeros(1, 3), 3, 0.2).isnan().any()


def test_one_task_with_all_parts_is_lora_with_softmax_weights():
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(*size, generator=generator) for size in ((4, 7, 6), (3, 6), (5, 3)))
    found = mixed_update(x, a, b, most=3, temperature=0.5)
    for image in range(4):
        for position in range(7):
            product = a @ x[image, position]
            weights = torch.exp(product / product.norm() / 0.5)
            expected = b @ torch.diag(weights / weights.sum()) @ product
            assert torch.allclose(found[image, position], expected, atol=1e-6)
    # Equal weights, at a high temperature, are LoRA divided by the number of parts.
    assert torch.allclose(mixed_update(x, a, b, 3, 1e9), F.linear(x, b @ a) / 3, atol=1e-6)


@pytest.mark.slow
def test_each_task_adds_parts_and_the_earlier_ones_stay(toy_encoder, stream):
    encoder = toy_encoder()
    initial = {name: tensor.clone() for name, tensor in tuning.weights(encoder).items()}
    strategy, (first, second) = MoRAM(encoder=encoder, options=MoRAM.Options(**QUICK)), stream.train_stream
    untrained = copy.deepcopy(strategy.encoder)
    pixels = torch.randint(0, 256, (4, 3, encoder.image_size, encoder.image_size)).to(torch.uint8)
    strategy.prepare_run()
    strategy.make_modules([first])
    with torch.no_grad():
        # B is zero at first.
        torch.testing.assert_close(encoder.encode_images(pixels), untrained.encode_images(pixels), atol=1e-6, rtol=0)
    strategy.train(first, eval_streams=[])
    kept = copy.deepcopy(encoder.grown["0"].state_dict())
    strategy.train(second, eval_streams=[])
    assert all(torch.equal(kept[name], tensor) for name, tensor in encoder.grown["0"].state_dict().items())
    mixtures = [module for module in encoder.added.values() if isinstance(module, Mixture)]
    assert len(mixtures) == len(strategy.mixed) and {len(each.parts()) for each in mixtures} == {2}
    assert any(bool(parts.b.any()) for each in mixtures for parts in each.parts()[1:])
    assert sum(p.numel() for p in strategy.trainable) == sum(p.numel() for p in encoder.grown["1"].parameters())
    assert all(torch.equal(initial[name], tensor) for name, tensor in tuning.weights(encoder).items() if name in initial)
    # One image gets the same features whatever else is in the batch.
    encoder.eval()
    with torch.no_grad():
        together, alone = encoder.encode_images(pixels), torch.cat([encoder.encode_images(each[None]) for each in pixels])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
