"""Negatives: texts that compete with a task's classes in its cross-entropy and are the label of no image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from benchmarks.scenario import DomainExperience
from models import tuning
from models.encoder import DualEncoder
from models.modes import evaluating

Kind = Literal["none", "captions", "previous"]
CAPTIONS = 100
"""Captions drawn in each step (ZSCL's released class-incremental code)."""


class Negatives:
    """Texts by their tokens [K, context], of which `count` are drawn in each step (None: all are used), seeded.

    If the text tower trains, they are encoded in each step, with gradient. Otherwise they pass through the tower once, in
    evaluation mode, and in each step only through the adapter behind it.
    """

    def __init__(self, encoder: DualEncoder, tokens: Tensor, seed: int, count: int | None = None):
        self.encoder, self.tokens, self.count = encoder, tokens, count
        self.generator = torch.Generator().manual_seed(seed)
        self._raw: Tensor | None = None
        if not tuning.trains_text_tower(encoder):
            with evaluating(encoder), torch.no_grad():
                self._raw = torch.cat([encoder.raw_texts(rows) for rows in torch.split(tokens, 512)])

    def features(self) -> Tensor:
        """Return the unit features [count, d] of this step's negatives."""
        index = self._draw()
        if self._raw is not None:
            return self.encoder.finish_texts(self._raw if index is None else self._raw[index])
        return self.encoder.encode_texts(self.tokens if index is None else self.tokens[index])

    def skip(self, steps: int) -> None:
        """Draw and discard the negatives of this many steps."""
        for _ in range(steps):
            self._draw()

    def _draw(self) -> Tensor | None:
        """Return the indices of a step's negatives, or None for all of them."""
        return None if self.count is None else torch.randperm(len(self.tokens), generator=self.generator)[: self.count]


def make_negatives(
    kind: Kind, encoder: DualEncoder, captions: Sequence[str], experiences: Sequence[DomainExperience], seed: int
) -> Negatives | None:
    """Return the negatives of the last of `experiences`; None for the kind "none" and for a first task without any.

    Source: ce_method "ext" and "previous" of ZSCL's released class-incremental code.

    Args:
        kind: "captions", of which 100 are drawn in each step, or "previous", the class names of the earlier tasks without
            those that the current task has too (our choice).
        encoder: the student.
        captions: the run's reference sentences.
        experiences: the training experiences up to the current one.
        seed: seed of the draws.
    """
    if kind == "none":
        return None
    if kind == "captions":
        return Negatives(encoder, encoder.tokenize(list(captions)), seed, CAPTIONS)
    *earlier, current = experiences
    current_prompts = set(current.domain.prompts(0))
    prompts = dict.fromkeys(text for e in earlier for text in e.domain.prompts(0) if text not in current_prompts)
    return Negatives(encoder, encoder.tokenize(list(prompts)), seed) if prompts else None
