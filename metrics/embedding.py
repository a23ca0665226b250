"""Labelled images and class prompts through an encoder, once: what every measure of a task starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metrics.evaluate import pixel_batches
from metrics.suite import Features
from models.modes import evaluating


class Embedded(NamedTuple):
    """A task through one state of an encoder, on the CPU: features and labels, and which versions of its weights they are of.

    `raw` are the batches that the image tower gave, kept where an adapter stands behind it, which may change alone.
    """

    features: Features
    image_version: int
    text_version: int
    raw: tuple[Tensor, ...] = ()


def embed(encoder: Any, images: Any, prompts: Sequence[str], known: Embedded | None = None) -> Embedded:
    """Features of a dataset of (image, label) with the evaluation transform, and of one prompt per class.

    `known` is what an earlier call gave for the same images and prompts: what cannot have changed since, by the encoder's
    counters, is taken from it, so that images pass again only through other weights; the numbers are those of a new pass to
    the bit. The encoder's training mode is left as it was.
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


def embed_images(encoder: Any, images: Any, known: Embedded | None = None) -> Tensor:
    """The image features [N, d] of `embed` alone."""
    return _images(encoder, images, known)[1]


def _images(encoder: Any, images: Any, known: Embedded | None) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """What the tower gave where an adapter follows, features [N, d] and labels [N]."""
    same = known is not None and known.image_version == encoder.image_version
    if known is not None and same and encoder.image_adapter is None:
        return (), known.features.image_features, known.features.labels
    adapted = encoder.image_adapter is not None
    raw, finished, labels = [], [], [torch.zeros(0, dtype=torch.int64)]
    with evaluating(encoder), torch.no_grad():
        if known is not None and same and known.raw:
            # Batch by batch: an adapter's products of another shape would round in another way.
            finished = [encoder.finish_images(batch.to(encoder.device)).cpu() for batch in known.raw]
            return known.raw, torch.cat(finished), known.features.labels
        for pixels, of_batch in pixel_batches(images, encoder.preprocess):
            given = encoder.raw_images(pixels.to(encoder.device))
            finished.append(encoder.finish_images(given).cpu())
            labels.append(of_batch)
            if adapted:
                raw.append(given.cpu())
    return tuple(raw), torch.cat(finished) if finished else torch.zeros(0, 0), torch.cat(labels)
