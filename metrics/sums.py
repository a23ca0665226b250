"""Sums of features by class, in a stream: all that IIMM, the silhouette and the mean similarities need to see.

Every measure made of dot products of pairs follows from them exactly, in time linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

CHUNK = 1024  # rows held in float64 at once: 4 MB at a width of 512, which caches hold; larger parts were ten times slower


class ClassSums:
    """Per class sums of features, in float64: `sums` [K, d] and `counts` [K] for the labels seen, 0..K-1.

    `squares` is the sum of all squared norms and `n` the number of rows. Sums over disjoint parts of the data merge by
    addition. Features are used as they are: pass unit vectors.
    """

    def __init__(self) -> None:
        self.n = 0
        self.counts = torch.zeros(0, dtype=torch.int64)
        self.sums = torch.zeros(0, 0, dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)

    def update(self, features: Tensor, labels: Tensor) -> Self:
        """Add a batch: features [B, d], integer labels [B].

        Nothing is added when it raises ValueError: for bad shapes, features that are not finite, rows of zeros, which have no
        direction, or labels that are negative or not integers.
        """
        check_features(features, labels)
        if len(features):
            self._grow(int(labels.max()) + 1, features.shape[1])
            for x, y in chunks(features, labels):
                self.sums.index_add_(0, y, x)
                self.counts.index_add_(0, y, torch.ones_like(y))
                self.squares += (x * x).sum()
            self.n += len(features)
        return self

    def merge(self, other: ClassSums) -> Self:
        """Add what another one has seen."""
        if other.n:
            self._grow(*other.sums.shape)
            known = len(other.counts)
            self.sums[:known] += other.sums
            self.counts[:known] += other.counts
            self.squares += other.squares
            self.n += other.n
        return self

    def without(self, part: ClassSums) -> Self:
        """These sums less those of a part of the data, as a new object."""
        rest = type(self)().merge(self)
        known = len(part.counts)
        rest.sums[:known] -= part.sums
        rest.counts[:known] -= part.counts
        rest.squares -= part.squares
        rest.n -= part.n
        return rest

    def _grow(self, classes: int, width: int) -> None:
        """Make room for labels below `classes`. Raises ValueError for another width than before."""
        if self.n and self.sums.shape[1] != width:
            raise ValueError(f"features of width {width} after features of width {self.sums.shape[1]}")
        if not self.n:
            self.sums = torch.zeros(0, width, dtype=torch.float64)
        missing = classes - len(self.counts)
        if missing > 0:
            self.sums = torch.cat([self.sums, torch.zeros(missing, width, dtype=torch.float64)])
            self.counts = torch.cat([self.counts, torch.zeros(missing, dtype=torch.int64)])


def chunks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows in order, a part at a time, as float64 [b, d] and int64 [b] on the CPU."""
    for x, y in zip(features.detach().split(CHUNK), labels.detach().split(CHUNK), strict=True):
        yield x.to("cpu", torch.float64), y.to("cpu", torch.int64)


def check_features(features: Tensor, labels: Tensor) -> None:
    """Raise ValueError unless features are [N, d], finite and without rows of zeros, and labels [N] integers from 0."""
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ValueError(f"expected features [B, d] and labels [B], got {tuple(features.shape)} and {tuple(labels.shape)}")
    check_finite(features, "image")
    if len(labels) and (labels.is_floating_point() or labels.is_complex()):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if len(labels) and int(labels.min()) < 0:
        raise ValueError(f"negative label {int(labels.min())}")


def check_finite(features: Tensor, kind: str) -> None:
    """Raise ValueError for NaN, infinity or a row of zeros."""
    for x in features.detach().split(CHUNK):
        # Five times faster than looking at every entry.
        norms = torch.linalg.vector_norm(x.to(torch.float64), dim=1)
        if not torch.isfinite(norms).all():
            raise ValueError(f"{kind} features contain NaN or infinity")
        if not norms.all():
            raise ValueError(f"{kind} features contain a row of zeros")


def class_texts(text_features: Tensor, seen: ClassSums | None = None) -> Tensor:
    """Class text features [C, d] in float64 on the CPU, checked alone and against the images seen.

    Raises ValueError for another shape or width, features that are not finite, rows of zeros, or a label without text.
    """
    if text_features.ndim != 2:
        raise ValueError(f"expected text features [C, d], got {tuple(text_features.shape)}")
    t = text_features.detach().to("cpu", torch.float64)
    if seen is not None:
        if len(seen.counts) > len(t):
            raise ValueError(f"a label of {len(seen.counts) - 1} but only {len(t)} class texts")
        if seen.sums.shape[1] != t.shape[1]:
            raise ValueError(f"image features of width {seen.sums.shape[1]} and text features of width {t.shape[1]}")
    check_finite(t, "text")
    return t
