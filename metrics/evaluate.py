"""Accuracy of a classifier on images, for searches and single measurements.

The accuracy matrix is filled by Avalanche's evaluation loop, so that users' plugins fire; it counts with the same function.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.data.domain import Domain
from models.transforms import evaluation_transform


class Accuracy(NamedTuple):
    """Correct answers and the number asked."""

    correct: int
    n: int

    @property
    def percent(self) -> float:
        """100 x correct / n; NaN for n = 0."""
        return 100 * self.correct / self.n if self.n else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's score interval (1927) of the accuracy in percent: (low, high); NaN for n = 0.

        Its coverage is near the level for small n and near 0 and 100 % too, where value plus or minus standard errors fails.
        """
        if not self.n:
            return float("nan"), float("nan")
        from scipy.stats import binomtest

        low, high = binomtest(int(self.correct), int(self.n)).proportion_ci(level, method="wilson")
        return 100 * float(low), 100 * float(high)


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Number of rows [B, C] whose largest logit is the label [B], as a 0-d tensor left on the device (no synchronisation)."""
    return (logits.argmax(dim=1) == labels).sum()


def pixel_batches(dataset: Any, preprocess: Any, batch_size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Evaluation-transformed batches of a dataset, in order: uint8 [B, 3, S, S] and int64 labels [B].

    `preprocess` is an encoder's, or a size in pixels.
    """
    transform = evaluation_transform(preprocess)
    for start in range(0, len(dataset), batch_size):
        items = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        yield torch.stack([transform(image) for image, _ in items]), torch.tensor([int(label) for _, label in items])


def evaluate(
    classifier: Any, domain: Domain, split: str = "test", *, task_label: int | None = None, batch_size: int = 256
) -> Accuracy:
    """Accuracy of a `PromptClassifier` on one split of a domain, within its classes, with the template ensemble.

    `task_label` is the domain's task in the classifier; None finds it, or uses a head for this call alone: the classifier
    learns no new task by being asked. Its training mode is left as it was. Raises ValueError when the domain has no such
    split.
    """
    dataset = getattr(domain, split)
    if dataset is None:
        raise ValueError(f"domain {domain.name!r} has no {split} split")
    with _asked(classifier, domain, task_label) as (asked, label):
        encoder = asked.encoder
        correct = torch.zeros((), dtype=torch.int64, device=encoder.device)
        for pixels, labels in pixel_batches(dataset, encoder.preprocess, batch_size):
            logits = asked(pixels.to(encoder.device), label)
            correct += count_correct(logits, labels.to(encoder.device))
    return Accuracy(int(correct), len(dataset))


def evaluate_features(
    classifier: Any, domain: Domain, image_features: Tensor, labels: Tensor, *, task_label: int | None = None
) -> Accuracy:
    """`evaluate` of images that have passed through the image tower already: unit features [N, d] and labels [N]."""
    with _asked(classifier, domain, task_label) as (asked, label):
        device = asked.encoder.device
        return Accuracy(int(count_correct(asked.classify(image_features.to(device), label), labels.to(device))), len(labels))


@contextmanager
def _asked(classifier: Any, domain: Domain, task_label: int | None) -> Iterator[tuple[Any, int]]:
    """In evaluation mode and without gradients: the classifier that knows the domain, and the domain's task in it."""
    if task_label is None:
        wanted = (domain.name, domain.classnames, domain.templates)
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
