"""Patch embedding as one matrix product on a GPU.

An image tower begins with a convolution whose kernel is as large as its stride, so each pixel belongs to one patch. cuDNN has
slow kernels for it in bfloat16: on an H100, 4.0 of the 61.8 ms of 512 images through ViT-B/16. The matrix product is the same
sum in another order. On a CPU the convolution stays as it is.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchConvolution(nn.Conv2d):
    """`nn.Conv2d` whose kernel is its stride, on a GPU as a matrix product. Parameters and their names do not change."""

    def forward(self, input: Tensor) -> Tensor:
        """Return [B, C, H // P, W // Q] for pixels [B, 3, H, W]."""
        return patch_product(input, self) if input.is_cuda else super().forward(input)


def patch_product(pixels: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return a convolution without overlaps as the product of the flattened patches and the flattened kernels.

    Args:
        pixels: [B, c, H, W].
        convolution: kernels of P x Q pixels with a stride of P x Q, without padding, dilation and groups.

    Returns:
        [B, C, H // P, W // Q]. The channels of a position are neighbours in memory, as the tokens of a transformer.
    """
    p, q = convolution.kernel_size
    rows, columns = pixels.shape[2] // p, pixels.shape[3] // q
    grid = pixels[:, :, : rows * p, : columns * q].reshape(*pixels.shape[:2], rows, p, columns, q)
    patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(3)
    return F.linear(patches, convolution.weight.flatten(1), convolution.bias).permute(0, 3, 1, 2)


def use_patch_product(module: nn.Module) -> None:
    """Let every convolution of pixels without overlaps below a module be a product on a GPU. Its tensors do not move."""
    for each in module.modules():
        if type(each) is nn.Conv2d and each.in_channels == 3 and each.kernel_size == each.stride and _is_plain(each):
            each.__class__ = PatchConvolution


def _is_plain(convolution: nn.Conv2d) -> bool:
    return convolution.padding in ((0, 0), "valid") and convolution.dilation == (1, 1) and convolution.groups == 1
