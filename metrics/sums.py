"""Sums of features by class over a stream of batches, the input of IIMM, the silhouette and the mean similarities.

Every measure made of dot products of pairs follows from them exactly, in time linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

# Rows held in float64 at once: 4 MB at a width of 512, which fits in caches. Larger chunks were ten times slower.
CHUNK = 1024


class ClassSums:
    """Sums of features by class, in float64: `sums` [K, d] and `counts` [K] for the labels 0..K-1 seen so far.

    `squares` is the sum of all squared norms and `n` the number of rows. Sums over disjoint parts of the data merge by
    addition. Features are used unchanged, so pass unit vectors.

    Args:
        device: where sums are kept and computed. On a GPU the order of a sum is not fixed, so results repeat only to rounding.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.n = 0
        self.device = torch.device(device)
        self.counts = torch.zeros(0, dtype=torch.int64, device=device)
        self.sums = torch.zeros(0, 0, dtype=torch.float64, device=device)
        self.squares = torch.zeros((), dtype=torch.float64, device=device)

    def update(self, features: Tensor, labels: Tensor) -> Self:
        """Add a batch.

        Args:
            features: unit features [B, d].
            labels: integer labels [B].

        Raises:
            ValueError: the shapes are wrong, features are not finite or have a row of zeros (which has no direction), or labels
                are negative or not integers. Nothing is added then.
        """
        check_features(features, labels)
        if len(features):
            self._grow(int(labels.max()) + 1, features.shape[1])
            for x, y in chunks(features, labels, self.device):
                self.sums.index_add_(0, y, x)
                self.counts.index_add_(0, y, torch.ones_like(y))
                self.squares += (x * x).sum()
            self.n += len(features)
        return self

    def merge(self, other: ClassSums) -> Self:
        """Add the sums of another object."""
        if other.n:
            self._grow(*other.sums.shape)
            known = len(other.counts)
            self.sums[:known] += other.sums.to(self.device)
            self.counts[:known] += other.counts.to(self.device)
            self.squares += other.squares.to(self.device)
            self.n += other.n
        return self

    def without(self, part: ClassSums) -> Self:
        """Return these sums minus those of a part of the data, as a new object."""
        remaining = type(self)(self.device).merge(self)
        known = len(part.counts)
        remaining.sums[:known] -= part.sums.to(self.device)
        remaining.counts[:known] -= part.counts.to(self.device)
        remaining.squares -= part.squares.to(self.device)
        remaining.n -= part.n
        return remaining

    def _grow(self, classes: int, width: int) -> None:
        """Make room for labels below `classes`. Raises ValueError if the width differs from before."""
        if self.n and self.sums.shape[1] != width:
            raise ValueError(f"features must have width {self.sums.shape[1]}, as before, got {width}")
        if not self.n:
            self.sums = self.sums.new_zeros(0, width)
        missing = classes - len(self.counts)
        if missing > 0:
            self.sums = torch.cat([self.sums, self.sums.new_zeros(missing, width)])
            self.counts = torch.cat([self.counts, self.counts.new_zeros(missing)])


def chunks(features: Tensor, labels: Tensor, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows in order, in chunks, as float64 [b, d] and int64 [b] on the device."""
    for x, y in zip(torch.split(features.detach(), CHUNK), torch.split(labels.detach(), CHUNK), strict=True):
        yield x.to(device, torch.float64), y.to(device, torch.int64)


def check_features(features: Tensor, labels: Tensor) -> None:
    """Raise ValueError unless features are [N, d], finite and without rows of zeros, and labels are [N] integers from 0."""
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ValueError(f"expected features [B, d] and labels [B], got {tuple(features.shape)} and {tuple(labels.shape)}")
    check_finite(features, "image")
    if len(labels) and (labels.is_floating_point() or labels.is_complex()):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if len(labels) and int(labels.min()) < 0:
        raise ValueError(f"negative label {int(labels.min())}")


def check_finite(features: Tensor, kind: str) -> None:
    """Raise ValueError for NaN, infinity or a row of zeros."""
    for x in torch.split(features.detach(), CHUNK):
        # Five times faster than a check of every entry.
        norms = torch.linalg.vector_norm(x.to(torch.float64), dim=1)
        if not torch.isfinite(norms).all():
            raise ValueError(f"{kind} features contain NaN or infinity")
        if not norms.all():
            raise ValueError(f"{kind} features contain a row of zeros")


def class_texts(text_features: Tensor, seen: ClassSums | None = None) -> Tensor:
    """Check class text features and convert them to float64 on the CPU.

    Args:
        text_features: text features [C, d].
        seen: sums of image features, to check labels and width against.

    Raises:
        ValueError: the shape or width is wrong, features are not finite or have a row of zeros, or a label has no text.
    """
    if text_features.ndim != 2:
        raise ValueError(f"expected text features [C, d], got {tuple(text_features.shape)}")
    t = text_features.detach().to("cpu", torch.float64)
    if seen is not None:
        if len(seen.counts) > len(t):
            raise ValueError(f"label {len(seen.counts) - 1} has no text: there are only {len(t)} class texts")
        if seen.sums.shape[1] != t.shape[1]:
            raise ValueError(f"image features have width {seen.sums.shape[1]} and text features {t.shape[1]}")
    check_finite(t, "text")
    return t
