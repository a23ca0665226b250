"""GIFT: distil the model before the task on pairs of an image and a sentence, and hold the weights that matter for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models import parallel
from models.registry import UserError
from models.setting import setting
from strategies.distillation import distillation_loss
from strategies.engine.batches import endless, kept_on, mixed_seed, rows_of, sent
from strategies.engine.order import GivenBatches
from strategies.engine.strategy import Batch, Strategy
from strategies.l2 import squared_distance
from strategies.reference_sources import reference_batches
from strategies.teacher_outputs import embed_images, embed_texts, holding_weights

UNREACHED = 1e-6
"""Importance of a tensor that the pairs' losses do not reach (the released code)."""


def alignment_targets(sentences: Tensor) -> Tensor:
    """Return the targets [B, B] of image-text alignment: row i is uniform over the pairs with the sentence of pair i.

    Args:
        sentences: numbers of the sentences [B]; equal ones are the same sentence.
    """
    equal = (sentences[:, None] == sentences[None, :]).float()
    return equal / equal.sum(dim=1, keepdim=True)


def pair_losses(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float = 2.0, label_smoothing: float = 0.0
) -> dict[str, Tensor]:
    """Return the losses on a batch of pairs, from the logits [B, B] of images (rows) over sentences (columns).

    "image_loss" and "text_loss" are `distillation_loss` over the rows and the columns. "image_alignment" and "text_alignment"
    are the smoothed cross-entropy of the student's rows and columns with the targets.

    Args:
        student: logits of the student.
        teacher: logits of the teacher.
        targets: `alignment_targets`.
        temperature: temperature of the distillation.
        label_smoothing: of the alignment.
    """
    targets = targets.to(student)
    return {
        "image_loss": distillation_loss(student, teacher, temperature),
        "text_loss": distillation_loss(student.T, teacher.T, temperature),
        "image_alignment": F.cross_entropy(student, targets, label_smoothing=label_smoothing),
        "text_alignment": F.cross_entropy(student.T, targets, label_smoothing=label_smoothing),
    }


def importance(gradients: Sequence[Tensor | None]) -> list[Tensor | float]:
    """Return g^2 / mean(g^2) of each gradient, element by element.

    It is `UNREACHED` for None, and 0 for a gradient that is zero everywhere (our choice).
    """
    squares = [None if g is None else g.detach().square() for g in gradients]
    return [UNREACHED if s is None else s / s.mean().clamp(min=torch.finfo(s.dtype).tiny) for s in squares]


def weighted_distance(parameters: Sequence[Tensor], anchor: Sequence[Tensor], weights: Sequence[Tensor | float]) -> Tensor:
    """Return the sum over all tensors and elements of weight * (parameter - anchor)^2, a scalar with gradient."""
    terms = [(w * (p - a).square()).sum() for p, a, w in zip(parameters, anchor, weights, strict=True)]
    return torch.stack(terms).sum()


class GIFT(Strategy):
    """GIFT: distil the model before the task on image-sentence pairs, and anchor the weights that these losses depend on.

    For a batch of pairs, Z = exp(logit_scale) * V T^T are the logits of the images' unit features V over the sentences' T, by
    student (s) and teacher (t). D is `distillation_loss`. A is the smoothed cross-entropy with the true pairing, in which equal
    sentences share the mass. theta_start are the trainable parameters at the start of the task:

        p    = image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T) + alignment * (A(Z_s) + A(Z_s^T))
        loss = cross-entropy + p + l2 * sum_k w_k (theta_k - theta_start,k)^2

    With `consolidation=adaptive`, w of a tensor is the square of the gradient of p in this step, divided by its mean over the
    tensor. This is a second backward pass in each step. With "uniform", w is 1. Both towers get gradients from the pairs.

    The teacher is the model before the task. Its features are computed once per task.

    The pairs are named by `reference_images`, a folder, and `reference_sentences`, a table with a column for the image and one
    for the sentence (`benchmarks.pair_lookup`). "default" is the mini edition's drawn pairs, or Conceptual Captions. With
    {task} in a name, for example `reference_images=synthetic/{task}_Syn`, every task has other pairs. A task uses a seeded
    choice of `pairs` of them. No picture is generated here.

    Source:
        Wu et al. 2025, arXiv 2503.04229, and its released code.

    Differs from the released code:
        The pictures are read, not made by Stable Diffusion.
        The outputs of the teacher are computed once per task, not in every step. The pairs are not augmented there either, so
        the losses are the same.
        Not implemented: importance averaged over steps (--static_awc), distillation of one tower only, KL divergence.

    Defaults:
        From the released configuration: both distillation losses 1, temperature 2, alignment 0.25, l2 1, 64 pairs per step, and
        1,000 pairs per task.

    Command:
        `python cli.py bench mtil --strategy gift`
    """

    options: Options
    needs_reference = True
    needs_pairs = True

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of `gift`."""

        image_loss: float = setting(1.0, "weight of the distillation of each image over the sentences of the batch", least=0)
        text_loss: float = setting(1.0, "weight of the distillation of each sentence over the images of the batch", least=0)
        temperature: float = setting(2.0, "temperature of the distillation", above=0)
        alignment: float = setting(0.25, "weight of the cross-entropy with the true pairing, each way", least=0)
        l2: float = setting(1.0, "weight of the squared distance to the start of the task", least=0)
        consolidation: Literal["adaptive", "uniform"] = setting(
            "adaptive", "weights of the squared distance: by the squared gradient of the pairs' losses, or equal"
        )
        teacher: Literal["previous", "zero-shot"] = setting("previous", "the model before the task, or the initial model")
        pairs: int = setting(1000, "pairs per task", least=1)
        reference_batch: int = setting(64, "pairs per update", least=1)
        reference_images: str = setting("default", "images of the pairs: default, conceptual_captions or a folder, with {task}")
        reference_sentences: str = setting(
            "default", "sentences of the pairs: default (a table in the folder), conceptual_captions or a table, with {task}"
        )

    @classmethod
    def uses_reference(cls, options: Any) -> bool:
        """Return whether the loss has a term on pairs."""
        return bool(max(options.image_loss, options.text_loss, options.alignment) > 0)

    def before_run(self) -> None:
        """Check the pairs, and keep the initial weights if they are the teacher's."""
        super().before_run()
        self.distils = self.uses_reference(self.options) and not self.evaluates_only
        if not self.distils:
            return
        self.refuse_probe("the towers, which the pairs' losses act on, do not train")
        if self.reference is None or not len(self.reference.images):
            raise ValueError("GIFT needs reference pairs; set reference_images and reference_sentences")
        if len(self.reference.images) != len(self.reference.sentences):
            images, sentences = len(self.reference.images), len(self.reference.sentences)
            raise UserError(f"Pairs need one sentence for each image, got {images:,} images and {sentences:,} sentences.")
        self.pair_images = kept_on(self.reference.images, self.device)
        self.initial = self.weights() if self.options.teacher == "zero-shot" else None

    def before_experience(self) -> None:
        """Choose the task's pairs, compute the teacher's features on them, and keep the start of the task."""
        super().before_experience()
        self.anchor = [p.detach().clone() for p in self.trainable] if self.options.l2 else []
        if not self.distils or self.reference is None:
            return
        self.rows = self.chosen_pairs()
        sentences = [self.reference.sentences[row] for row in self.rows.tolist()]
        numbers = {sentence: i for i, sentence in enumerate(dict.fromkeys(sentences))}
        self.sentence_numbers = torch.tensor([numbers[sentence] for sentence in sentences])
        self.tokens = self.encoder.tokenize(sentences)
        with holding_weights(self.encoder, self.initial):
            self.teacher_images = embed_images(self.encoder, self.pair_images, self.rows, self.progress)
            self.teacher_texts = embed_texts(self.encoder, self.tokens, self.progress)
        self._pair_batches = self._batches()

    def chosen_pairs(self) -> Tensor:
        """Return the rows [n] of the task's pairs: a seeded choice of `pairs` of the task's, or of all."""
        assert self.reference is not None
        rows, task = self.reference.rows, self.experience.domain.name
        if rows is not None and task not in rows:
            raise UserError(f"There are reference pairs for {', '.join(rows)}, and none for the task {task!r}.")
        available = range(len(self.reference.images)) if rows is None else rows[task]
        seed = mixed_seed(self.seed, self.experience.current_experience, 4)
        order = torch.randperm(len(available), generator=torch.Generator().manual_seed(seed))
        return order[: self.options.pairs] + available.start

    def compute_loss(self, batch: Batch) -> Tensor:
        """Add the losses on a batch of pairs and the weighted distance to the start of the task."""
        o, loss = self.options, super().compute_loss(batch)
        self.log(cross_entropy=loss)
        weights: list[Tensor | float] = [UNREACHED] * len(self.anchor)
        if self.distils:
            terms = self.losses_on_pairs(next(self._pair_batches))
            self.log(**terms)
            pairs = o.image_loss * terms["image_loss"] + o.text_loss * terms["text_loss"]
            pairs = pairs + o.alignment * (terms["image_alignment"] + terms["text_alignment"])
            loss = loss + pairs
            if self.anchor and o.consolidation == "adaptive":
                gradients = torch.autograd.grad(pairs, self.trainable, retain_graph=True, allow_unused=True)
                parallel.average([gradient for gradient in gradients if gradient is not None])
                weights = importance(gradients)
        if not self.anchor:
            return loss
        if o.consolidation == "uniform":
            drift = squared_distance(self.trainable, self.anchor, foreach=not self.plain, later=self.later)
        else:
            drift = weighted_distance(self.trainable, self.anchor, weights)
        self.log(l2=drift)
        return loss + o.l2 * drift

    def losses_on_pairs(self, index: Tensor) -> dict[str, Tensor]:
        """Return `pair_losses` of these pairs of the task [B], with gradient to both towers."""
        logits, numbers = self.encoder.logits, self.sentence_numbers[index]
        pixels = sent(rows_of(self.pair_images, self.rows[index]), self.device)
        on_device = index.to(self.device)
        student = logits(self.encoder.encode_images(pixels), self.encoder.encode_texts(self.tokens[on_device]))
        teacher = logits(self.teacher_images[on_device], self.teacher_texts[on_device])
        smoothing = self.options.label_smoothing
        return pair_losses(student, teacher, alignment_targets(numbers), self.options.temperature, smoothing)

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Skip the pairs of the first `step` updates."""
        super().load_task(state, step)
        if self.distils:
            for _ in range(step):
                next(self._pair_batches)

    def _batches(self) -> Iterator[Tensor]:
        """Return the indices [B] into the task's pairs, step by step."""
        count = len(self.rows)
        if self.order.reference is None:
            seed = mixed_seed(self.seed, self.experience.current_experience, 5)
            return reference_batches(count, self.options.reference_batch, seed)
        return map(torch.tensor, endless(GivenBatches("reference", self.order.reference, self.experience, count)))
