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

from torch import Tensor

from metrics.sums import ClassSums, class_texts


class IIMM(NamedTuple):
    """The measure and its two terms, each in [-1, 1], and the number of images."""

    score: float
    intra: float
    inter: float
    n: int = 0


class IIMMAccumulator(ClassSums):
    """IIMM in a stream of batches: `update(image_features, labels)`, `merge(other)`, then `result(text_features)`."""

    def result(self, text_features: Tensor) -> IIMM:
        """The measure against class text features [C, d], row c for label c.

        Raises ValueError with fewer than two images or classes, or when a label has no text.
        """
        if self.n < 2:
            raise ValueError(f"IIMM needs at least 2 images, got {self.n}")
        classes = len(text_features)
        if classes < 2:
            raise ValueError(f"IIMM needs at least 2 classes, got {classes}")
        t = class_texts(text_features, self)
        s = self.sums.sum(dim=0)
        own = (self.sums * t[: len(self.sums)]).sum()
        intra = (s @ s - self.squares) / (self.n * (self.n - 1))
        inter = (s @ t.sum(dim=0) - own) / (self.n * (classes - 1))
        return IIMM(float((intra + inter) / 2), float(intra), float(inter), self.n)


def iimm(image_features: Tensor, text_features: Tensor, labels: Tensor) -> IIMM:
    """IIMM of unit image features [N, d], class text features [C, d] and labels [N], exact, in float64.

    Raises ValueError for N < 2, C < 2, labels outside 0..C-1, features that are not finite, or rows of zeros.
    """
    return IIMMAccumulator().update(image_features, labels).result(text_features)
