"""Evaluation in batches that mix the test images of all tasks, if the task of a test image is unknown."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader

from benchmarks.data.progress import Progress
from benchmarks.scenario import DomainExperience, collate
from models.classifier import PromptClassifier
from models.clock import now
from models.encoder import DualEncoder
from models.modes import evaluating
from models.padding import PADDING
from strategies.engine.batches import in_memory
from strategies.engine.frozen_features import KeptFeatures

Batches = Sequence[list[int]]


def mixed_batches(sizes: Sequence[int], batch_size: int, seed: int = 0) -> Batches:
    """Return batches of indices into several concatenated test sets, with images of every set in proportion to its size.

    Within a set the order is random. The seed is not the run's, so that every run evaluates the same batches.

    Args:
        sizes: number of images of each set.
        batch_size: most images per batch. The batches are as equal as possible, so that the last one is mixed too.
        seed: seed of the order.
    """
    generator = np.random.default_rng(seed)
    places = np.concatenate([(generator.permutation(size) + 0.5) / max(1, size) for size in sizes])
    order = np.argsort(places, kind="stable")
    return [batch.tolist() for batch in np.array_split(order, -(-len(order) // batch_size))]


def separate_batches(sizes: Sequence[int], batch_size: int, seed: int = 0) -> Batches:
    """Return batches of indices into several concatenated test sets, with images of one set per batch, in random order.

    Args:
        sizes: number of images of each set.
        batch_size: images per batch. The last batch of a set may be smaller.
        seed: seed of the order.
    """
    generator = np.random.default_rng(seed)
    offsets = np.cumsum([0, *sizes])
    orders = [(offset + generator.permutation(size)).tolist() for offset, size in zip(offsets, sizes, strict=False)]
    return [order[start : start + batch_size] for order in orders for start in range(0, len(order), batch_size)]


class MixedEvaluation(SupervisedTemplate):
    """Avalanche's evaluation, in which a batch does not tell the task of its images.

    Under the protocols "class" and "agnostic" the classes of several tasks compete, and a test image comes without its task. A
    batch with the images of one task would tell it: a method could choose the task by a vote of the batch, as released code of
    several methods does. So all trained tasks' test images are first classified together, in batches of `mixed_batches`. Then
    Avalanche's loop passes over each experience, and its plugins get the logits of that pass. The batches of held-out domains,
    and of all domains under the protocol "task", have one domain each.
    """

    experience: DomainExperience
    is_training: bool
    progress: Progress
    workers: int
    _kept_features: KeptFeatures
    _kept_plain: KeptFeatures
    _frozen_images: bool

    _mixed: dict[int, Tensor]
    mixed_seconds = 0.0
    """Time of the last pass in mixed batches; 0 if there was none."""

    @property
    def classifier(self) -> PromptClassifier:
        """The model that plugins see."""
        classifier: PromptClassifier = self.model
        return classifier

    @property
    def encoder(self) -> DualEncoder:
        """The encoder of the classifier."""
        return self.classifier.encoder

    def logits_of(self, experiences: Sequence[DomainExperience], batches: Batches, keep: bool = True) -> list[Tensor]:
        """Return the logits of the test images of several experiences, computed in the given batches.

        Args:
            experiences: experiences whose images are indexed in this order.
            batches: batches of indices into the concatenated images. Each image is in one batch.
            keep: use and keep the features of a frozen image tower. They are valid for these batches only.

        Returns:
            Logits [n, C] of each experience, in the order of its images. The columns are those of `classifier.columns`.
        """
        with self._competing(experiences):
            return self._logits_of(experiences, batches, keep)

    def seconds_per_image(self, experiences: Sequence[DomainExperience], images: int = 64, repeats: int = 3) -> float:
        """Return the time of a test image from its pixels in memory to its logits.

        Text features are ready, and features of a frozen image tower are computed again. It is the shortest of several passes
        of one batch.

        Args:
            experiences: the experiences whose test images make the batch.
            images: most images of the batch.
            repeats: number of passes that are timed, after one that is not.
        """
        batches = mixed_batches([len(experience.dataset) for experience in experiences], images)[:1]
        with self._competing(experiences):
            batch = next(iter(self._loader(experiences, batches)))
            times = []
            for _ in range(repeats + 1):
                self.mbatch = [tensor.to(self.device) for tensor in batch]
                began = now(self.device)
                self._unpack_minibatch()
                self.forward()
                times.append(now(self.device) - began)
        return min(times[1:]) / len(batches[0])

    @contextmanager
    def _competing(self, experiences: Sequence[DomainExperience]) -> Iterator[None]:
        """Let the classes compete as in an evaluation of these experiences, in evaluation mode and without gradients."""
        before, was_training = self.experience, self.is_training
        self.is_training = False
        try:
            for self.experience in experiences:
                self._check()
                self._compete()
            # A method may read its last trained experience, but not that of the images.
            self.experience = before
            with torch.no_grad(), evaluating(self.model):
                yield
        finally:
            self.experience, self.is_training, self._frozen_images = before, was_training, False
            for experience in experiences:
                self.classifier.compete(experience.task_label)

    def _logits_of(self, experiences: Sequence[DomainExperience], batches: Batches, keep: bool) -> list[Tensor]:
        widths = [sum(len(classes) for _, classes in self.classifier.columns(e.task_label)) for e in experiences]
        sizes = [len(experience.dataset) for experience in experiences]
        logits = torch.full((sum(sizes), max(widths)), PADDING, device=self.device, dtype=self.encoder.mean.dtype)
        self._frozen_images = keep and self._images_frozen()
        self._kept_features.begin(self.encoder, *experiences)
        if keep:
            self._kept_plain.begin(self.encoder, *experiences)
        done = 0
        for rows, batch in zip(batches, self._loader(experiences, batches), strict=True):
            self.mbatch = batch
            self.progress(done, len(logits), "evaluate the tasks together")
            self._unpack_minibatch()
            output = self.forward()
            logits[torch.tensor(rows, device=self.device), : output.shape[1]] = output
            done += len(rows)
        self._kept_features.end()
        self._kept_plain.end()
        return [part[:, :width] for part, width in zip(torch.split(logits, sizes), widths, strict=True)]

    def _loader(self, experiences: Sequence[DomainExperience], batches: Batches) -> DataLoader[Any]:
        decoded = all(in_memory(experience.domain.test) for experience in experiences)
        return DataLoader(
            ConcatDataset([experience.dataset.eval() for experience in experiences]),
            batch_sampler=batches,
            num_workers=0 if decoded else self.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
        )

    def _before_eval(self, **kwargs: Any) -> None:
        super()._before_eval(**kwargs)
        began, self._mixed = time.perf_counter(), {}
        if mixed := mixed_tasks(self.current_eval_stream):
            batches = mixed_batches([len(experience.dataset) for experience in mixed], self.eval_mb_size)
            logits = self.logits_of(mixed, batches)
            self._mixed = {id(experience): rows for experience, rows in zip(mixed, logits, strict=True)}
        self.mixed_seconds = time.perf_counter() - began if self._mixed else 0.0

    def eval_epoch(self, **kwargs: Any) -> None:
        """Evaluate the current experience. Logits that a pass in mixed batches has computed are not computed again."""
        known, done = self._mixed.pop(id(self.experience), None), 0
        for batch in self.dataloader:
            self.mbatch = batch
            self._unpack_minibatch()
            self._before_eval_iteration(**kwargs)

            self._before_eval_forward(**kwargs)
            self.mb_output = self.forward() if known is None else known[done : done + len(self.mb_y)]
            self._after_eval_forward(**kwargs)
            self.loss = self.criterion()
            done += len(self.mb_y)

            self._after_eval_iteration(**kwargs)


def mixed_tasks(experiences: Iterable[Any]) -> list[DomainExperience]:
    """Return the experiences whose images share batches: of trained tasks, if their task is unknown and there are several."""
    unknown = [e for e in experiences if getattr(e, "protocol", "task") != "task" and e.task_label < len(e.stream_domains)]
    return unknown if len(unknown) > 1 else []
