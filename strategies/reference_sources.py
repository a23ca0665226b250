"""Reference data that a method makes: noise, random sentences, and the order in which images are used."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.encoder import DualEncoder
from strategies.engine.batches import mixed_seed

NOISE = 64_064
"""Number of noise images: as many as ZSCL looks at in a task (1,001 x 64)."""
SENTENCES, LENGTH = 1000, 10
"""Number of random sentences, and tokens in each (ZSCL's released code, for LwF-VR)."""


class NoiseImages:
    """Images of uniformly random pixels, drawn on demand. Image i depends only on `seed` and i.

    Indexing with a tensor of n indices returns uint8 [n, 3, size, size].
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
    """Draw sentences of uniformly random tokens, with the start, end and padding tokens of real texts.

    The random tokens are at the positions of a real text's tokens. They are drawn from the whole vocabulary, special tokens
    included (ZSCL's released code).

    Args:
        encoder: its tokenizer and text tower give the start, the end and the size of the vocabulary.
        seed: seed of the tokens.
        count: number of sentences.
        length: random tokens in each sentence, at most as many as fit into the context.

    Returns:
        Token ids [count, context].

    Raises:
        ValueError: the text tower has no attribute `vocab_size`.
    """
    vocabulary = int(getattr(getattr(encoder.clip, "text", encoder.clip), "vocab_size", 0))
    if not vocabulary:
        raise ValueError("random sentences need a text tower with an attribute vocab_size, the size of its vocabulary")
    empty, full = encoder.tokenize(["", "a"]).cpu()
    start, context = int((empty != full).nonzero()[0]), len(empty)
    length = min(length, context - start - 1)
    tokens = torch.randint(0, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))
    frame = empty.expand(count, -1)
    return torch.cat([frame[:, :start], tokens, frame[:, start : context - length]], dim=1).to(encoder.device)


def reference_batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Yield indices [min(size, count)] into `count` images without end: one seeded shuffle after another."""
    generator = torch.Generator().manual_seed(seed)
    size = min(size, count)
    while count:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
