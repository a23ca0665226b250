"""Texts that compete with a task's classes in its cross-entropy, though no image is labelled with them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from models import tuning
from models.encoder import DualEncoder
from models.modes import evaluating

Kind = Literal["none", "captions", "previous"]
CAPTIONS = 100
"""Captions drawn in each step (ZSCL's released class-incremental code)."""


class Negatives:
    """Negatives by their tokens [K, context], `count` of them drawn anew in each step (None: all of them), seeded.

    Where the text tower trains they are encoded in each step, with gradient; otherwise they pass through it once, here, in
    evaluation mode, and in each step only through an adapter behind it.
    """

    def __init__(self, encoder: DualEncoder, tokens: Tensor, seed: int, count: int | None = None):
        self.encoder, self.tokens, self.count = encoder, tokens, count
        self.generator = torch.Generator().manual_seed(seed)
        self._raw: Tensor | None = None
        if not tuning.trains_text_tower(encoder):
            with evaluating(encoder), torch.no_grad():
                self._raw = torch.cat([encoder.raw_texts(part) for part in tokens.split(512)])

    def skip(self, steps: int) -> None:
        """Leave out what so many steps would have drawn."""
        for _ in range(steps):
            self._draw()

    def _draw(self) -> Tensor | None:
        """Indices of a step's negatives; None: all."""
        return None if self.count is None else torch.randperm(len(self.tokens), generator=self.generator)[: self.count]

    def features(self) -> Tensor:
        """Unit features [count, d] of this step's negatives."""
        index = self._draw()
        if self._raw is not None:
            return self.encoder.finish_texts(self._raw if index is None else self._raw[index])
        return self.encoder.encode_texts(self.tokens if index is None else self.tokens[index])
