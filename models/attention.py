"""Self-attention in training without the copies of `nn.MultiheadAttention`.

torch's module transposes a batch-first input for its functional form and transposes the result back: four copies of
activations forward and as many backward. The module here projects, attends and projects in the given layout. Features are
bit-exact. Gradients of its weights are sums over the same rows in another order, so they agree up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 2**20
"""Smallest number of activations in a batch for the direct path on a CPU. Smaller batches stay in the cache, where a copy costs
little. The tiny model is below it, so its published numbers do not depend on this module (our choice). On a GPU the path does
not depend on the size, because there each copy is a kernel that the host has to start."""


class SelfAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` with a direct path for large batch-first self-attention in training.

    Parameters, their names and every other use of the module are those of the base class. Other uses are cross-attention,
    dropout, key padding, attention weights, and inference, for which torch has a separate fast path. Under autocast torch does
    not take that path, so inference on a GPU under autocast is direct too.

    `additions` are pairs of a role (q, k, v or o) and a function. The function gets the input of that matrix [B, L, D], and
    its result is added to the output, if it is not None (`models.places`). With additions the direct path is always used.
    """

    additions: tuple[tuple[str, Callable[[Tensor], Tensor | None]], ...] = ()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **options: Any) -> Any:
        """Attend as the base class does: [B, L, D] -> ([B, L, D], None) on the direct path.

        With H heads of size D / H: softmax(Q K^T / sqrt(D / H) + mask) V for each head, Q, K and V from one fused product.
        """
        mask = options.get("attn_mask")
        plain = not arguments and options.keys() <= {"need_weights", "attn_mask"} and not options.get("need_weights", True)
        if not (plain and query is key and key is value and (self.additions or self._is_direct(query, mask))):
            return super().forward(query, key, value, *arguments, **options)
        batch, length, width = query.shape
        heads = self.num_heads
        fused = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        if self.additions:
            thirds = zip("qkv", fused.chunk(3, dim=-1), strict=True)
            fused = torch.cat([self._with_additions(role, query, third) for role, third in thirds], dim=-1)
        q, k, v = fused.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
        if mask is not None:
            mask = mask.view(1, 1, length, length) if mask.dim() == 2 else mask.view(batch, heads, length, length)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        merged = attended.transpose(1, 2).reshape(batch, length, width)
        return self._with_additions("o", merged, self.out_proj(merged)), None

    def _with_additions(self, role: str, x: Tensor, output: Tensor) -> Tensor:
        """Return the output of a matrix with the additions for it."""
        for added in [call(x) for each, call in self.additions if each == role]:
            output = output if added is None else output + added
        return output

    def _is_direct(self, query: Tensor, mask: Tensor | None) -> bool:
        """Return whether the direct path computes the same as the base class and is used for this input."""
        return (
            (torch.is_grad_enabled() or (query.is_cuda and torch.is_autocast_enabled("cuda")))
            and query.dim() == 3
            and (query.is_cuda or query.numel() >= LEAST)
            and self.batch_first
            and self._qkv_same_embed_dim
            and self.bias_k is None
            and not self.add_zero_attn
            and self.dropout == 0
            and (mask is None or mask.is_floating_point())
        )


def streamline(module: nn.Module) -> None:
    """Give every plain `nn.MultiheadAttention` below a module the direct path. Its tensors do not move."""
    for submodule in module.modules():
        if type(submodule) is nn.MultiheadAttention:
            submodule.__class__ = SelfAttention
