"""The patch embedding as a product, against torch's convolution."""

import copy

import pytest
import torch
from torch import nn

from models.patches import PatchConvolution, patch_product, use_patch_product


def convolution(**changes):
    torch.manual_seed(0)
    return nn.Conv2d(**({"in_channels": 3, "out_channels": 5, "kernel_size": 4, "stride": 4} | changes)).double()


@pytest.mark.parametrize("changes", [{}, {"bias": False}, {"kernel_size": (4, 2), "stride": (4, 2)}], ids=str)
@pytest.mark.parametrize("size", [(8, 12), (11, 13)], ids=str)
def test_features_and_gradients_are_those_of_the_convolution(changes, size):
    of = convolution(**changes)
    pixels = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    results = []
    for output in (of(pixels), patch_product(pixels, of)):
        results.append((output, *torch.autograd.grad(output.square().sum(), [pixels, *of.parameters()])))
    for reference, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


def test_tokens_are_read_without_a_copy():
    output = patch_product(torch.randn(2, 3, 8, 12).double(), convolution())
    tokens = output.reshape(2, 5, -1).permute(0, 2, 1)
    assert tokens.is_contiguous() and tokens.data_ptr() == output.data_ptr()


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"padding": "valid"}, True),
        ({"stride": 2}, False),
        ({"padding": 1}, False),
        ({"dilation": 2}, False),
        ({"in_channels": 6}, False),
        ({"groups": 3, "out_channels": 6}, False),
    ],
    ids=str,
)
def test_which_convolutions_are_products(changes, taken):
    model = nn.Sequential(convolution(**changes))
    before = copy.deepcopy(model.state_dict())
    use_patch_product(model)
    assert isinstance(model[0], PatchConvolution) is taken
    assert model.state_dict().keys() == before.keys()


def test_a_processor_convolves_as_before(toy_encoder, monkeypatch):
    monkeypatch.setattr("models.patches.patch_product", None)
    encoder = toy_encoder()
    assert any(isinstance(module, PatchConvolution) for module in encoder.modules())
    assert encoder.encode_images(torch.zeros(1, 3, 48, 48, dtype=torch.uint8)).shape[0] == 1
