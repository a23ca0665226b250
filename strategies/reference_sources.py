"""Reference data that a method makes for itself: noise and random sentences. Other data comes with the run."""

from __future__ import annotations

import torch
from torch import Tensor

from models.encoder import DualEncoder
from strategies.engine.batches import mixed_seed

NOISE = 64_064
"""Images of noise that there are, as many as ZSCL looks at in a task (1,001 x 64)."""
SENTENCES, LENGTH = 1000, 10
"""Random sentences and the tokens of each (ZSCL's released code, for LwF-VR)."""


class NoiseImages:
    """Images of uniformly random pixels, drawn when they are asked for; image i depends on `seed` and i alone.

    Indexing with a tensor of n indices gives uint8 [n, 3, size, size].
    """

    def __init__(self, size: int, seed: int, count: int = NOISE):
        self.size, self.seed, self.count = size, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Tensor) -> Tensor:
        return torch.stack([self._image(i) for i in index.tolist()])

    def _image(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, index))
        return torch.randint(0, 256, (3, self.size, self.size), generator=generator, dtype=torch.uint8)


def random_sentences(encoder: DualEncoder, seed: int, count: int = SENTENCES, length: int = LENGTH) -> Tensor:
    """Token ids [count, context] of sentences of uniformly random tokens, in the frame of start, end and padding of real ones.

    The random tokens stand where the first token of a real text would. They are drawn from the whole vocabulary, special
    tokens included (ZSCL's released code). Raises ValueError for a text tower that does not tell the size of its vocabulary.
    """
    vocabulary = int(getattr(getattr(encoder.clip, "text", encoder.clip), "vocab_size", 0))
    if not vocabulary:
        raise ValueError("random sentences need a text tower that tells the size of its vocabulary")
    empty, full = encoder.tokenize(["", "a"]).cpu()
    start, context = int((empty != full).nonzero()[0]), len(empty)
    length = min(length, context - start - 1)
    tokens = torch.randint(0, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))
    frame = empty.expand(count, -1)
    return torch.cat([frame[:, :start], tokens, frame[:, start : context - length]], dim=1).to(encoder.device)
