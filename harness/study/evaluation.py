"""Evaluate a classifier on the splits of domains with one prompt per class and with the template ensemble."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.domain import Domain
from harness.study.protocol import PROMPTS
from metrics.evaluate import count_correct, pixel_batches
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.modes import evaluating

BATCH = 256
Counts = dict[str, list[int]]
"""Kind of prompts -> [correct, n]."""


class RawImages:
    """Raw features [N, d] of images under an image tower that does not change, computed once per domain and split.

    They are kept batch by batch as they were computed, so accuracies are those of the plain pass.

    Args:
        encoder: the encoder with the initial weights of a study.
    """

    def __init__(self, encoder: DualEncoder):
        self._encoder = encoder
        self._kept: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}

    def of(self, domain: Domain, split: str) -> tuple[Tensor, Tensor]:
        """Return raw features [N, d] and labels [N] of a split, on the encoder's device."""
        key = (domain.name, split)
        if key not in self._kept:
            encoder = self._encoder
            # Not inference tensors: training may use them later.
            with evaluating(encoder), torch.no_grad():
                batches = list(pixel_batches(getattr(domain, split), encoder.preprocess, BATCH))
                raw = torch.cat([encoder.raw_images(pixels.to(encoder.device)) for pixels, _ in batches])
            self._kept[key] = raw, torch.cat([labels for _, labels in batches]).to(encoder.device)
        return self._kept[key]

    def of_training(self, encoder: DualEncoder, domain: Domain, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return raw features and labels of the training images, computed as an update computes them.

        In training mode, with gradients enabled and in batches of its size: attention takes another path in evaluation, which
        rounds differently.

        Args:
            encoder: an encoder with the initial, frozen image tower.
            domain: the domain.
            batch_size: images per update.
        """
        key = (domain.name, f"train {batch_size}")
        if key not in self._kept:
            was_training = encoder.training
            encoder.train()
            with torch.enable_grad():
                batches = list(pixel_batches(domain.train, encoder.preprocess, batch_size))  # type: ignore[arg-type]  # not None
                raw = torch.cat([encoder.raw_images(pixels.to(encoder.device)).detach() for pixels, _ in batches])
            encoder.train(was_training)
            self._kept[key] = raw, torch.cat([labels for _, labels in batches]).to(encoder.device)
        return self._kept[key]


class Score(NamedTuple):
    """Correct answers among n images, and the mean cross-entropy in nats."""

    correct: int
    n: int
    loss: float


def with_prompts(domain: Domain, prompts: str) -> Domain:
    """Return the domain with its first template ("one") or with all ("ensemble")."""
    return domain if prompts == "ensemble" else dataclasses.replace(domain, templates=domain.templates[:1])


class Heads:
    """The task labels of domains in a classifier, one per kind of prompts.

    Args:
        classifier: the classifier.
        domains: the domains. Label 0 is the first one with the prompts of the study, which is the one that trains.
        prompts: the kind of prompts of the study.
    """

    def __init__(self, classifier: PromptClassifier, domains: Sequence[Domain], prompts: str):
        self.classifier, self._labels = classifier, dict[tuple[str, str], int]()
        for kind in sorted(PROMPTS, key=lambda each: each != prompts):
            for domain in domains:
                label = self._labels[domain.name, kind] = len(self._labels)
                classifier.register_domain(label, with_prompts(domain, kind))

    def counts(self, domain: Domain, split: str, raw: RawImages | None = None) -> Counts:
        """Return [correct, n] on a split for both kinds of prompts, from one pass over the images."""
        correct = dict.fromkeys(PROMPTS, 0)
        with evaluating(self.classifier), torch.inference_mode():
            for features, labels in feature_batches(self.classifier.encoder, domain, split, raw):
                for kind in PROMPTS:
                    logits = self.classifier.classify(features, self._label(domain, kind), labels)
                    correct[kind] += int(count_correct(logits, labels))
        return {kind: [correct[kind], len(getattr(domain, split))] for kind in PROMPTS}

    def _label(self, domain: Domain, prompts: str) -> int:
        """Return the task label. A probe's trained head answers for both kinds."""
        trained = min(self._labels[domain.name, kind] for kind in PROMPTS)
        return trained if str(trained) in self.classifier.heads else self._labels[domain.name, prompts]


def score(classifier: PromptClassifier, label: int, domain: Domain, split: str, raw: RawImages | None = None) -> Score:
    """Return correct answers and cross-entropy of a task of the classifier on a split of its domain."""
    correct, loss = 0, 0.0
    with evaluating(classifier), torch.inference_mode():
        for features, labels in feature_batches(classifier.encoder, domain, split, raw):
            logits = classifier.classify(features, label, labels)
            correct += int(count_correct(logits, labels))
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    n = len(getattr(domain, split))
    return Score(correct, n, loss / max(1, n))


def feature_batches(encoder: DualEncoder, domain: Domain, split: str, raw: RawImages | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield unit image features [B, d] and labels [B] of a split; from `raw` if the image tower has not changed."""
    if raw is not None:
        kept, labels = raw.of(domain, split)
        for start in range(0, len(labels), BATCH):
            yield encoder.finish_images(kept[start : start + BATCH]), labels[start : start + BATCH]
        return
    for pixels, targets in pixel_batches(getattr(domain, split), encoder.preprocess, BATCH):
        yield encoder.encode_images(pixels.to(encoder.device)), targets.to(encoder.device)


def of_kind(counts: Mapping[str, Mapping[str, Counts]], prompts: str) -> dict[str, dict[str, list[int]]]:
    """Return split -> domain -> [correct, n] for one kind of prompts."""
    return {split: {name: both[prompts] for name, both in by_domain.items()} for split, by_domain in counts.items()}
