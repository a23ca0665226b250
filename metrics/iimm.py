"""IIMM, the inter-intra modal measure (2407.15731): one number from one forward pass, before any training.

With unit image features x_i (N of them, labels y_i) and unit text features t_c (one prompt for each of C classes):

    S_intra = mean over unordered pairs i < j of x_i . x_j
    S_inter = mean over images of the mean over the C - 1 wrong classes c != y_i of x_i . t_c
    IIMM    = (S_intra + S_inter) / 2

Both terms are sums of dot products, so they follow exactly from sums of vectors in O((N + C) d) time and O(C d) memory,
instead of the N x N and N x C similarity matrices:

    S_intra = (s . s - q) / (N (N - 1))       s = sum_i x_i,  q = sum_i |x_i|^2
    S_inter = (s . u - g) / (N (C - 1))       u = sum_c t_c,  g = sum_i x_i . t_{y_i}

No temperature, logit scale or bias. Classes without images still count as wrong classes. The value depends on the prompt
template; records name it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class IIMM(NamedTuple):
    """The measure and its two terms, each in [-1, 1], and the number of images."""

    score: float
    intra: float
    inter: float
    n: int = 0


class IIMMAccumulator:
    """IIMM in a stream of batches: per-class sums of image features, in float64.

    Accumulators over disjoint parts of the data merge by addition. Features are used as they are: pass unit vectors.
    """

    def __init__(self) -> None:
        self.n = 0
        self._class_sums: Tensor | None = None
        self._squares = torch.zeros((), dtype=torch.float64)

    def update(self, image_features: Tensor, labels: Tensor) -> IIMMAccumulator:
        """Add a batch: features [B, d], integer labels [B]. Raises ValueError on bad shapes or non-finite features."""
        x = image_features.detach().to("cpu", torch.float64)
        y = labels.detach().to("cpu", torch.int64)
        if x.ndim != 2 or y.shape != (len(x),):
            raise ValueError(f"expected features [B, d] and labels [B], got {tuple(x.shape)} and {tuple(y.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError("image features contain NaN or infinity")
        if len(x):
            if int(y.min()) < 0:
                raise ValueError(f"negative label {int(y.min())}")
            sums = self._grown(int(y.max()) + 1, x.shape[1])
            self._class_sums = sums.index_add_(0, y, x)
            self._squares = self._squares + (x * x).sum()
            self.n += len(x)
        return self

    def merge(self, other: IIMMAccumulator) -> IIMMAccumulator:
        """Add what another accumulator has seen."""
        if other._class_sums is not None:
            classes, width = other._class_sums.shape
            sums = self._grown(classes, width)
            sums[:classes] += other._class_sums
            self._class_sums = sums
            self._squares = self._squares + other._squares
            self.n += other.n
        return self

    def result(self, text_features: Tensor) -> IIMM:
        """The measure against class text features [C, d], row c for label c.

        Raises ValueError with fewer than two images or classes, or when a label has no text.
        """
        t = text_features.detach().to("cpu", torch.float64)
        if self._class_sums is None or self.n < 2:
            raise ValueError(f"IIMM needs at least 2 images, got {self.n}")
        classes = len(t)
        if classes < 2:
            raise ValueError(f"IIMM needs at least 2 classes, got {classes}")
        if len(self._class_sums) > classes:
            raise ValueError(f"a label of {len(self._class_sums) - 1} but only {classes} class texts")
        if not torch.isfinite(t).all():
            raise ValueError("text features contain NaN or infinity")
        s = self._class_sums.sum(dim=0)
        own = (self._class_sums * t[: len(self._class_sums)]).sum()
        intra = (s @ s - self._squares) / (self.n * (self.n - 1))
        inter = (s @ t.sum(dim=0) - own) / (self.n * (classes - 1))
        return IIMM(float((intra + inter) / 2), float(intra), float(inter), self.n)

    def _grown(self, classes: int, width: int) -> Tensor:
        """The class sums with room for `classes` rows."""
        if self._class_sums is None:
            return torch.zeros(classes, width, dtype=torch.float64)
        if self._class_sums.shape[1] != width:
            raise ValueError(f"features of width {width} after features of width {self._class_sums.shape[1]}")
        missing = classes - len(self._class_sums)
        if missing <= 0:
            return self._class_sums
        return torch.cat([self._class_sums, torch.zeros(missing, width, dtype=torch.float64)])


def iimm(image_features: Tensor, text_features: Tensor, labels: Tensor) -> IIMM:
    """IIMM of unit image features [N, d], class text features [C, d] and labels [N], exact, in float64.

    Raises ValueError for N < 2, C < 2, labels outside 0..C-1, or non-finite features.
    """
    return IIMMAccumulator().update(image_features, labels).result(text_features)
