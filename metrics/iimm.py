"""IIMM, the inter-intra modal measure (2407.15731): one number from one forward pass, before any training.

With unit image features x_i (N of them, labels y_i) and unit text features t_c (one prompt for each of C classes):

    S_intra = mean over unordered pairs i < j of x_i . x_j
    S_inter = mean over images of the mean over the C - 1 wrong classes c != y_i of x_i . t_c
    IIMM    = (S_intra + S_inter) / 2

Both terms are sums of dot products. They follow exactly from sums of vectors in O((N + C) d) time and O(C d) memory,
without the N x N and N x C similarity matrices:

    S_intra = (s . s - q) / (N (N - 1))       s = sum_i x_i,  q = sum_i |x_i|^2
    S_inter = (s . u - g) / (N (C - 1))       u = sum_c t_c,  g = sum_i x_i . t_{y_i}

There is no temperature, logit scale or bias. Classes without images still count as wrong classes. The value depends on the
prompt template, which records name.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metrics.sums import ClassSums, class_texts


class IIMM(NamedTuple):
    """The measure and its two terms, each in [-1, 1], and the number of images.

    Attributes:
        score: the mean of `intra` and `inter`.
        intra: the mean cosine of two different images.
        inter: the mean cosine of an image and the text of a wrong class.
        n: number of images.
    """

    score: float
    intra: float
    inter: float
    n: int = 0


class IIMMAccumulator(ClassSums):
    """IIMM over a stream of batches.

    `update` adds a batch, `merge` adds another accumulator, `result` returns the measure. Sums over disjoint parts of the data
    can be computed in different processes and merged.

    Examples:
        >>> import torch
        >>> accumulator = IIMMAccumulator()
        >>> for batch in torch.eye(2).split(1):
        ...     accumulator = accumulator.update(batch, torch.tensor([accumulator.n]))
        >>> accumulator.result(torch.eye(2))
        IIMM(score=0.0, intra=0.0, inter=0.0, n=2)
    """

    def result(self, text_features: Tensor) -> IIMM:
        """Return the measure against class text features.

        Args:
            text_features: unit text features [C, d]; row c belongs to label c.

        Returns:
            The measure in float64.

        Raises:
            ValueError: there are fewer than two images or classes, or a label has no text.
        """
        if self.n < 2:
            raise ValueError(f"IIMM needs at least 2 images, got {self.n}")
        classes = len(text_features)
        if classes < 2:
            raise ValueError(f"IIMM needs at least 2 classes, got {classes}")
        t = class_texts(text_features, self).to(self.device)
        s = self.sums.sum(dim=0)
        right = (self.sums * t[: len(self.sums)]).sum()
        intra = (s @ s - self.squares) / (self.n * (self.n - 1))
        inter = (s @ t.sum(dim=0) - right) / (self.n * (classes - 1))
        return IIMM(float((intra + inter) / 2), float(intra), float(inter), self.n)


def iimm(image_features: Tensor, text_features: Tensor, labels: Tensor) -> IIMM:
    """Return the exact IIMM of a task, in float64.

    Args:
        image_features: unit image features [N, d].
        text_features: unit text features [C, d], one per class.
        labels: labels [N] in 0..C-1.

    Returns:
        The measure, its two terms and the number of images.

    Raises:
        ValueError: N < 2, C < 2, a label is outside 0..C-1, or features are not finite or have a row of zeros.

    Examples:
        >>> import torch
        >>> images = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> result = iimm(images, texts, torch.tensor([0, 1]))
        >>> f"{result.score:.2f} {result.intra:.2f} {result.inter:.2f}"
        '0.45 0.60 0.30'
    """
    return IIMMAccumulator().update(image_features, labels).result(text_features)
