"""Mean similarities of images and class texts, from the same sums as IIMM.

With unit image features x_i (labels y_i, N of them) and unit class text features t_c (C of them), s = sum_i x_i, u = sum_c t_c:

    text-text    = mean over pairs of classes of t_a . t_b    = (u . u - sum_c |t_c|^2) / (C (C - 1))
    correct pair = mean over images of x_i . t_{y_i}          = sum_c s_c . t_c / N, s_c the sum over the images of class c
    modality gap = | s / N - u / C |

The text-text term is the third of the pair terms that the IIMM paper compares (2407.15731). The correct pair is the average
cosine similarity of A-CLIP's paper (2402.09613). The gap is from Liang et al. (2203.02053). Classes without images count in
text-text and in the gap's mean text, which weights classes equally.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metrics.sums import ClassSums, class_texts


def text_text(text_features: Tensor) -> float:
    """Return the mean similarity of the texts of two different classes.

    Args:
        text_features: unit text features [C, d].

    Returns:
        The mean in [-1 / (C - 1), 1]. Higher values mean that the class names are more alike to the model.

    Raises:
        ValueError: C < 2.
    """
    if len(text_features) < 2:
        raise ValueError(f"the similarity of class texts needs at least 2 classes, got {len(text_features)}")
    t = class_texts(text_features)
    u = t.sum(dim=0)
    return float((u @ u - (t * t).sum()) / (len(t) * (len(t) - 1)))


def correct_pair(images: ClassSums, text_features: Tensor) -> float:
    """Return the mean similarity of an image to the text of its class.

    Args:
        images: sums of unit image features by class.
        text_features: unit text features [C, d].

    Returns:
        The mean in [-1, 1]. Higher values mean better alignment before training.

    Raises:
        ValueError: there are no images, or a label has no text.
    """
    _check_images(images)
    t = class_texts(text_features, images)
    return float((images.sums * t[: len(images.sums)]).sum() / images.n)


def modality_gap(images: ClassSums, text_features: Tensor) -> float:
    """Return the distance between the mean image and the mean class text.

    Args:
        images: sums of unit image features by class.
        text_features: unit text features [C, d].

    Returns:
        The distance in [0, 2]. Higher values mean that the modalities are farther apart.

    Raises:
        ValueError: there are no images or texts, or a label has no text.
    """
    _check_images(images)
    if not len(text_features):
        raise ValueError("the modality gap needs class texts")
    t = class_texts(text_features, images)
    return float(torch.linalg.vector_norm(images.sums.sum(dim=0) / images.n - t.mean(dim=0)))


def _check_images(images: ClassSums) -> None:
    """Raise ValueError without images."""
    if not images.n:
        raise ValueError("no images")
