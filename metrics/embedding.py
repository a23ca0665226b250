"""Encode labelled images and class prompts once: the features that every measure of a task starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.data.dataset import ImageDataset
from metrics.evaluate import pixel_batches
from metrics.suite import Features
from models.encoder import DualEncoder
from models.modes import evaluating


class Embedded(NamedTuple):
    """A task through one state of an encoder, on the CPU: features, labels and the versions of the encoder's weights.

    `raw` holds the image tower's output by batch. It is kept only if an adapter follows the tower, because the adapter may
    change while the tower does not.
    """

    features: Features
    image_version: int
    text_version: int
    raw: tuple[Tensor, ...] = ()


def embed(encoder: DualEncoder, images: ImageDataset, prompts: Sequence[str], known: Embedded | None = None) -> Embedded:
    """Encode a dataset with the evaluation transform, and one prompt per class.

    The encoder's training mode is restored afterwards.

    Args:
        encoder: the encoder.
        images: a dataset of (image, label).
        prompts: one prompt per class, in class order.
        known: an earlier result for the same images and prompts. Features that cannot have changed since then, by the encoder's
            version counters, are reused. The result is bit-exact with a new pass.
    """
    if known is not None and known.text_version == encoder.text_version:
        texts = known.features.text_features
    else:
        with evaluating(encoder), torch.no_grad():
            texts = encoder.encode_texts(encoder.tokenize(prompts)).cpu()
    raw, image_features, labels = _images(encoder, images, known)
    if not len(labels):
        image_features = texts.new_zeros(0, texts.shape[1])
    features = Features(image_features, labels, texts, float(encoder.clip.logit_scale.detach().exp()))
    return Embedded(features, encoder.image_version, encoder.text_version, raw)


def embed_images(encoder: DualEncoder, images: ImageDataset, known: Embedded | None = None) -> Tensor:
    """Return the image features [N, d] of `embed`."""
    return _images(encoder, images, known)[1]


def _images(encoder: DualEncoder, images: ImageDataset, known: Embedded | None) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """Return the tower's output (only if an adapter follows), the features [N, d] and the labels [N]."""
    same_images = known is not None and known.image_version == encoder.image_version
    if known is not None and same_images and encoder.image_adapter is None:
        return (), known.features.image_features, known.features.labels
    adapted = encoder.image_adapter is not None
    raw, finished, labels = [], [], [torch.zeros(0, dtype=torch.int64)]
    with evaluating(encoder), torch.no_grad():
        if known is not None and same_images and known.raw:
            # Batch by batch: the adapter's products round differently for another shape.
            finished = [encoder.finish_images(batch.to(encoder.device)).cpu() for batch in known.raw]
            return known.raw, torch.cat(finished), known.features.labels
        for pixels, batch_labels in pixel_batches(images, encoder.preprocess):
            raw_features = encoder.raw_images(pixels.to(encoder.device))
            finished.append(encoder.finish_images(raw_features).cpu())
            labels.append(batch_labels)
            if adapted:
                raw.append(raw_features.cpu())
    return tuple(raw), torch.cat(finished) if finished else torch.zeros(0, 0), torch.cat(labels)
