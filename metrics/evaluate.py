"""Accuracy of a classifier on images, for alpha searches and single measurements.

Avalanche's evaluation loop fills the accuracy matrix, so that users' plugins run. It counts with the same function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.data.dataset import ImageDataset
from benchmarks.data.domain import Domain
from metrics.accuracy import Accuracy as Accuracy
from models.transforms import Preprocess, evaluation_transform

if TYPE_CHECKING:
    from models.classifier import PromptClassifier


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the largest entry of each row of logits [B, C] is at the label [B], bool [B]."""
    return logits.argmax(dim=1) == labels


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Count the rows of logits [B, C] whose largest entry is at the label [B].

    Returns:
        A 0-d tensor that stays on the device, so that nothing is synchronised.
    """
    return is_correct(logits, labels).sum()


def pixel_batches(
    dataset: ImageDataset, preprocess: int | Preprocess, batch_size: int = 256
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield evaluation-transformed batches of a dataset, in order.

    Args:
        dataset: a dataset of (image, label).
        preprocess: an encoder's preprocessing, or a size in pixels.
        batch_size: images per batch.

    Yields:
        Pixels uint8 [B, 3, S, S] and labels int64 [B].
    """
    transform = evaluation_transform(preprocess)
    for start in range(0, len(dataset), batch_size):
        items = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        yield torch.stack([transform(image) for image, _ in items]), torch.tensor([int(label) for _, label in items])


def evaluate(
    classifier: PromptClassifier, domain: Domain, split: str = "test", *, task_label: int | None = None, batch_size: int = 256
) -> Accuracy:
    """Return the accuracy of a classifier on one split of a domain, among the domain's classes, with the template ensemble.

    In a domain with questions an image is classified among the options of its question.
    The classifier's training mode is restored, and the classifier does not gain a task.

    Args:
        classifier: the classifier.
        domain: the domain.
        split: "train", "val", "test" or "ood".
        task_label: the domain's task in the classifier. None finds the task, or makes a head for this call.
        batch_size: images per batch.

    Returns:
        Correct answers and number of images.

    Raises:
        ValueError: the domain does not have the split.

    Examples:
        ```python
        from metrics.evaluate import evaluate
        from models.classifier import PromptClassifier

        accuracy = evaluate(PromptClassifier(encoder), domain, "val")
        print(f"{accuracy.percent:.1f} % of {accuracy.n} images")
        ```
    """
    dataset = getattr(domain, split)
    if dataset is None:
        raise ValueError(f"the domain {domain.name!r} has no {split} split")
    with _evaluation_head(classifier, domain, task_label) as (model, label):
        encoder = model.encoder
        correct = torch.zeros((), dtype=torch.int64, device=encoder.device)
        for pixels, labels in pixel_batches(dataset, encoder.preprocess, batch_size):
            labels = labels.to(encoder.device)
            correct += count_correct(model(pixels.to(encoder.device), label, labels), labels)
    return Accuracy(int(correct), len(dataset))


def evaluate_features(
    classifier: PromptClassifier, domain: Domain, image_features: Tensor, labels: Tensor, *, task_label: int | None = None
) -> Accuracy:
    """Return the accuracy on images that have already passed through the image tower; otherwise as `evaluate`.

    Args:
        classifier: the classifier.
        domain: the domain.
        image_features: unit features [N, d].
        labels: labels [N].
        task_label: as in `evaluate`.
    """
    with _evaluation_head(classifier, domain, task_label) as (model, label):
        device = model.encoder.device
        labels = labels.to(device)
        logits = model.classify(image_features.to(device), label, labels)
        return Accuracy(int(count_correct(logits, labels)), len(labels))


@contextmanager
def _evaluation_head(
    classifier: PromptClassifier, domain: Domain, task_label: int | None
) -> Iterator[tuple[PromptClassifier, int]]:
    """Yield a classifier that knows the domain, and the domain's task in it, in evaluation mode and without gradients."""
    if task_label is None:
        wanted = (domain.name, domain.classnames, domain.templates, domain.groups)
        task_label = next((label for label, prompts in classifier.prompts.items() if prompts == wanted), None)
    if task_label is None:
        classifier, task_label = type(classifier)(classifier.encoder), 0
    classifier.register_domain(task_label, domain)
    was_training = classifier.encoder.training
    classifier.eval()
    try:
        with torch.inference_mode():
            yield classifier, task_label
    finally:
        classifier.train(was_training)
