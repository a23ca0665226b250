"""Compute a teacher's outputs in chunks with the student's own encoder: exact, and without a second model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.data.progress import Progress
from models import tuning
from models.encoder import DualEncoder
from models.modes import evaluating
from strategies.engine.batches import rows_of, sent


class Images(Protocol):
    """Images in memory or read on demand. Indexing with a tensor of n indices returns uint8 [n, 3, S, S]."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Return the images with these indices."""


@contextmanager
def holding_weights(encoder: DualEncoder, theta: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Give the encoder other weights, in evaluation mode without gradients, and restore it bit-exactly on exit.

    Args:
        encoder: the student's encoder.
        theta: weights as `models.tuning.weights` returns them; None keeps the current ones.
    """
    student = None
    if theta is not None:
        student = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
        tuning.set_weights(encoder, theta)
    try:
        with evaluating(encoder), torch.no_grad():
            yield
    finally:
        if student is not None:
            encoder.load_state_dict(student)


def embed_images(encoder: DualEncoder, images: Images, index: Tensor, progress: Progress, chunk: int = 256) -> Tensor:
    """Return unit features [N, d] of the images with these indices [N]."""
    features = []
    for i, indices in enumerate(torch.split(index, chunk)):
        progress(i * chunk, len(index), "teacher: reference images")
        features.append(encoder.encode_images(sent(rows_of(images, indices), encoder.device)))
    return torch.cat(features)


def embed_texts(encoder: DualEncoder, tokens: Tensor, progress: Progress | None = None, chunk: int = 512) -> Tensor:
    """Return unit features [M, d] of tokenised texts [M, context]."""
    features = []
    for i, rows in enumerate(torch.split(tokens, chunk)):
        if progress is not None:
            progress(i * chunk, len(tokens), "teacher: reference sentences")
        features.append(encoder.encode_texts(rows))
    return torch.cat(features)
