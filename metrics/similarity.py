"""Mean similarities of images and class texts: IIMM's neighbours, from the same sums.

With unit image features x_i (labels y_i, N of them) and unit class text features t_c (C of them), s = sum_i x_i, u = sum_c t_c:

    text-text    = mean over pairs of classes of t_a . t_b    = (u . u - sum_c |t_c|^2) / (C (C - 1))
    correct pair = mean over images of x_i . t_{y_i}          = sum_c s_c . t_c / N, s_c the sum over the images of class c
    modality gap = | s / N - u / C |

The text-text term is the third of the pair terms that the IIMM paper compares (2407.15731); the correct pair is the average
cosine similarity of A-CLIP's paper (2402.09613); the gap is Liang et al.'s (2203.02053). Classes without images count as
class texts: in text-text and in the mean text of the gap, which weights classes alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.sums import ClassSums, class_texts


def text_text(text_features: Tensor) -> float:
    """Mean similarity of the texts of two different classes, from unit features [C, d]; in [-1 / (C - 1), 1].

    Higher: the classes read alike. Raises ValueError for C < 2.
    """
    if len(text_features) < 2:
        raise ValueError(f"the similarity of class texts needs at least 2 classes, got {len(text_features)}")
    t = class_texts(text_features)
    u = t.sum(dim=0)
    return float((u @ u - (t * t).sum()) / (len(t) * (len(t) - 1)))


def correct_pair(images: ClassSums, text_features: Tensor) -> float:
    """Mean similarity of an image to the text of its class, in [-1, 1]; higher: better aligned already.

    Raises ValueError without images, or when a label has no text.
    """
    _check_seen(images)
    t = class_texts(text_features, images)
    return float((images.sums * t[: len(images.sums)]).sum() / images.n)


def modality_gap(images: ClassSums, text_features: Tensor) -> float:
    """Distance between the mean image and the mean class text, in [0, 2]; higher: the modalities lie farther apart.

    Raises ValueError without images or texts, or when a label has no text.
    """
    _check_seen(images)
    if not len(text_features):
        raise ValueError("the modality gap needs class texts")
    t = class_texts(text_features, images)
    return float(torch.linalg.vector_norm(images.sums.sum(dim=0) / images.n - t.mean(dim=0)))


def _check_seen(images: ClassSums) -> None:
    if not images.n:
        raise ValueError("no images")
