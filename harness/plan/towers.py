"""Towers that count their rows and compute only the first one, so that a whole run can be counted in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.plan.ledger import IMAGES, TEXTS, TRAINED_IMAGES, TRAINED_TEXTS, Ledger
from models.encoder import DualEncoder
from models.route import current_route, routed, rows_of

SPREAD = 1e-2
"""Standard deviation of the noise between rows, relative to the root mean square of a row: methods may need different ones."""


@contextmanager
def counted_towers(ledger: Ledger) -> Iterator[None]:
    """Count every row that any `DualEncoder` encodes within the block, copies of encoders included.

    A tower computes the first row of its inputs, with gradient if gradients are enabled, and the other rows are this row with
    noise. So hooks in the towers are called and gradients reach every parameter that trains, at the cost of one row. While
    `ledger.full` is set the towers compute all rows. The noise does not come from torch's global generator.
    """
    images, texts = DualEncoder.raw_images, DualEncoder.raw_texts
    noise: dict[torch.device, torch.Generator] = {}

    def repeated(row: Tensor, count: int) -> Tensor:
        generator = noise.setdefault(row.device, torch.Generator(row.device).manual_seed(0))
        scale = SPREAD * row.detach().square().mean().sqrt()
        return row + scale * torch.randn(count, row.shape[1], generator=generator, device=row.device, dtype=row.dtype)

    def raw_images(self: DualEncoder, pixels: Tensor) -> Tensor:
        if pixels.dim() == 2 or not len(pixels):
            return images(self, pixels)
        ledger.encoded(TRAINED_IMAGES if torch.is_grad_enabled() else IMAGES, len(pixels))
        if ledger.full:
            return images(self, pixels)
        with ledger.in_tower():
            first = torch.zeros(1, dtype=torch.int64, device=pixels.device)
            with routed(rows_of(current_route(), first)):
                return repeated(images(self, pixels[:1]), len(pixels))

    def raw_texts(self: DualEncoder, tokens: Tensor, length: int | None = None, embeddings: Tensor | None = None) -> Tensor:
        if not len(tokens):
            return texts(self, tokens, length, embeddings)
        ledger.encoded(TRAINED_TEXTS if torch.is_grad_enabled() else TEXTS, len(tokens))
        if ledger.full:
            return texts(self, tokens, length, embeddings)
        with ledger.in_tower():
            first = None if embeddings is None else embeddings[:1]
            return repeated(texts(self, tokens[:1], length, first), len(tokens))

    kind: Any = DualEncoder
    kind.raw_images, kind.raw_texts = raw_images, raw_texts
    try:
        yield
    finally:
        kind.raw_images, kind.raw_texts = images, texts
