"""Distillation: its loss functions, its two kinds of teacher, and the base class of the methods that distil."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.reference import FileImages
from benchmarks.reference_lookup import OWN_IMAGES, OWN_SENTENCES
from models import tuning
from models.encoder import DualEncoder
from models.registry import UserError
from models.setting import setting
from models.weights import interpolate
from strategies.engine.batches import endless, kept_on, mixed_seed, rows_of, sent
from strategies.engine.order import GivenBatches
from strategies.engine.strategy import Batch, Strategy
from strategies.negatives import Negatives, make_negatives
from strategies.reference_sources import NoiseImages, random_sentences, reference_batches
from strategies.teacher_outputs import Images, embed_images, embed_texts, holding_weights

DIAGONAL = -1e4


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Return T^2 * mean over rows of the soft cross-entropy -sum_j softmax(teacher / T)_j log_softmax(student / T)_j.

    This is cross-entropy and not KL divergence, as in ZSCL's released code. They differ by the teacher's entropy, which is a
    constant, so the gradient is the same.

    Args:
        student_logits: logits [B, M].
        teacher_logits: logits [B, M]; they are detached.
        temperature: T.

    Returns:
        A scalar.
    """
    target = F.softmax(teacher_logits.detach() / temperature, dim=1)
    rows = -(target * F.log_softmax(student_logits / temperature, dim=1)).sum(dim=1)
    return temperature**2 * rows.mean()


def image_image_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Return `distillation_loss` of the similarities [B, B] between images, with -1e4 on the diagonal.

    Source: ZSCL's released code (--ablation_loss_2).
    """
    diagonal = torch.eye(len(student_logits), dtype=torch.bool, device=student_logits.device)
    student, teacher = (logits.masked_fill(diagonal, DIAGONAL) for logits in (student_logits, teacher_logits))
    return distillation_loss(student, teacher, temperature)


class Teacher(Protocol):
    """A model that the student is kept near on reference data. Its outputs carry no gradient."""

    def texts(self) -> Tensor:
        """Return R, the unit features [M, d] of all reference sentences."""

    def images(self, index: Tensor, pixels: Tensor) -> Tensor:
        """Return V_t, the unit features [B, d] of the reference images of one step: their indices [B] and pixels."""


class ComputedOnce:
    """A teacher whose outputs were computed before the first step.

    `features` [N, d] are of all reference images, or of those with the indices `looked_at` [N] out of `count`.
    """

    def __init__(self, texts: Tensor, features: Tensor, looked_at: Tensor | None = None, count: int = 0):
        self._texts, self._features = texts, features
        self._rows: Tensor | None = None
        if looked_at is not None:
            self._rows = torch.full((count,), -1)
            self._rows[looked_at] = torch.arange(len(looked_at))

    def texts(self) -> Tensor:
        """Return the stored text features [M, d]."""
        return self._texts

    def images(self, index: Tensor, pixels: Tensor) -> Tensor:
        """Return the stored features [B, d] of these images."""
        rows = index if self._rows is None else self._rows[index]
        return self._features[rows.to(self._features.device, non_blocking=True)]


class AskedEachStep:
    """A teacher that is a frozen model and encodes the reference images again in each step.

    `texts` returns the text features R [M, d].
    """

    def __init__(self, model: DualEncoder, texts: Callable[[DualEncoder], Tensor]):
        self.model, self._texts = model, texts

    @torch.no_grad()
    def texts(self) -> Tensor:
        """Return the text features [M, d]."""
        return self._texts(self.model)

    @torch.no_grad()
    def images(self, index: Tensor, pixels: Tensor) -> Tensor:
        """Encode the images: unit features [B, d]."""
        return self.model.encode_images(pixels)


class Distillation(Strategy):
    """Base class of the methods that keep a model near a teacher's outputs on reference data.

    V_s and V_t are the unit features of a batch of reference images by student and teacher. R are the teacher's unit features
    of all reference sentences. Z_s = exp(logit_scale) * V_s R^T and Z_t = exp(logit_scale) * V_t R^T are logits, and
    S_s = exp(logit_scale) * V_s V_s^T (S_t alike) are similarities between images. D is `distillation_loss`, D' is
    `image_image_loss`:

        loss = cross-entropy + image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T)
               + feature_mse * mean (V_s - V_t)^2 + image_image * D'(S_s, S_t)

    R is the teacher's in both Z_s and Z_t, so distillation sends gradient to the image tower only. `weight_adjust` halves
    image_loss, text_loss and image_image. A term of weight 0 is not computed. Names, formulas and defaults are those of ZSCL's
    released code (2303.06628).

    `teacher` is "zero-shot", the initial model; "previous", the model at the start of the task; or "wise", the mixture
    (1 - teacher_alpha) * initial + teacher_alpha * previous. It is fixed during a task. In the released class-incremental code
    the previous model shares its tensors with the student, so that its distillation losses have no gradient; here it does not.

    The outputs of a fixed teacher are computed once: per run if neither the teacher nor the data change from task to task,
    otherwise at the start of a task, and only of the images that the task will use. A frozen copy of the model is asked in each
    step only for reference_images=batch, whose images are augmented, and for everything with exactness=plain. Other reference
    images have the evaluation transform. They pass through the student together with the batch, or in a separate pass with
    exactness=plain.

    `negatives` are texts that compete with the task's classes in the cross-entropy (`strategies.negatives`).

    A subclass overrides `sources`, and where it needs them `task_images`, `task_tokens`, `reference_size`, `reference_seed`.
    """

    options: Options
    images: Images | None
    teacher: Teacher | None
    negatives: Negatives | None
    initial: dict[str, Tensor]
    _run_texts: Tensor | None
    _run_images: Tensor | None

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of every method that distils."""

        image_loss: float = setting(1.0, "weight of the distillation of each image over the sentences", least=0)
        text_loss: float = setting(1.0, "weight of the distillation of each sentence over the images", least=0)
        feature_mse: float = setting(0.0, "weight of the squared distance of image features to the teacher's", least=0)
        image_image: float = setting(0.0, "weight of the distillation of similarities between images", least=0)
        weight_adjust: bool = setting(False, "halve image_loss, text_loss and image_image")
        temperature: float = setting(2.0, "temperature of the distillation", above=0)
        teacher: Literal["zero-shot", "previous", "wise"] = setting(
            "zero-shot", "the initial model, the model before the task, or a mixture of both"
        )
        teacher_alpha: float = setting(0.8, "share of the model before the task in the teacher `wise`", least=0, most=1)
        negatives: Literal["none", "captions", "previous"] = setting(
            "none", "texts that compete with the classes: sampled captions or earlier class names"
        )

    # Reference data

    def sources(self) -> tuple[str, str]:
        """Return the words that name this method's reference images and sentences (`benchmarks.reference`)."""
        raise NotImplementedError

    def from_run(self) -> tuple[bool, bool]:
        """Return whether the images and the sentences are those of `reference`, the same in every task."""
        images, sentences = self.sources()
        return images not in OWN_IMAGES, sentences not in OWN_SENTENCES

    def task_images(self, word: str) -> Images | None:
        """Return the current task's reference images; None if they are the training batch."""
        if word == "batch":
            return None
        if word == "noise":
            return NoiseImages(self.encoder.image_size, mixed_seed(self.seed, self.experience.current_experience, 1))
        images: Any = self.experience.domain.train  # a trained domain has training images
        return FileImages(images, self.encoder.preprocess)

    def task_tokens(self, word: str) -> Tensor:
        """Return the tokens [M, context] of the current task's reference sentences."""
        if word == "random":
            return random_sentences(self.encoder, mixed_seed(self.seed, self.experience.current_experience, 2))
        experiences = self.experiences if word == "seen-classnames" else [self.experience]
        return self.encoder.tokenize([prompt for each in experiences for prompt in each.domain.prompts(0)])

    @property
    def reference_size(self) -> int:
        """Reference images per step: as many as in a batch (the released code)."""
        return self.options.batch_size

    @property
    def reference_seed(self) -> int:
        """Seed of the order of the reference images. Here each task has a different one."""
        return mixed_seed(self.seed, self.experience.current_experience)

    @classmethod
    def uses_reference(cls, options: Any) -> bool:
        """Return whether the loss has a distillation term, or sampled captions as negatives."""
        weights = (options.image_loss, options.text_loss, options.feature_mse, options.image_image)
        return cls.needs_reference and (max(weights) > 0 or options.negatives == "captions")

    @classmethod
    def reference_count(cls, options: Any, updates: Sequence[int]) -> int | None:
        """Return how many reference images all tasks together look at."""
        return sum(updates) * int(options.batch_size)

    # Hooks

    def before_run(self) -> None:
        """Check the reference data, and compute the outputs of a fixed teacher on the data of the run."""
        super().before_run()
        o = self.options
        self.images = self.teacher = self.negatives = self._run_texts = self._run_images = None
        self.distils = False
        if self.evaluates_only:
            return
        sentences = [] if self.reference is None else self.reference.sentences
        if o.negatives == "captions" and not sentences:
            raise ValueError("negatives=captions needs reference sentences; set reference_sentences")
        self.distils = max(o.image_loss, o.text_loss, o.feature_mse, o.image_image) > 0
        if not self.distils:
            return
        self.refuse_probe("the image tower, which distillation acts on, does not train")
        if not tuning.trains_images(self.encoder) and self.encoder.image_adapter is None:
            raise UserError(
                f"{type(self).__name__} distils image features, but this tuning trains no image-tower parameters. "
                "Choose another one with --tuning."
            )
        run_images, run_sentences = self.from_run()
        if run_images:
            if self.reference is None or not len(self.reference.images):
                raise ValueError(f"{type(self).__name__} needs reference images; set reference_images")
            self.images = kept_on(self.reference.images, self.device)
        if run_sentences and not sentences:
            raise ValueError(f"{type(self).__name__} needs reference sentences; set reference_sentences")
        once_per_run = o.teacher == "zero-shot" and not self.plain
        if o.teacher != "previous" and not (once_per_run and run_images and run_sentences):
            self.initial = self.weights()
        if once_per_run:
            with holding_weights(self.encoder, None):
                if run_sentences:
                    self._run_texts = embed_texts(self.encoder, self._sentence_tokens(), self.progress)
                if self.images is not None:
                    everything = torch.arange(len(self.images))
                    self._run_images = embed_images(self.encoder, self.images, everything, self.progress)

    def before_experience(self) -> None:
        """Prepare the task's reference images, teacher and negatives."""
        super().before_experience()
        captions = () if self.reference is None else self.reference.sentences
        seed = mixed_seed(self.seed, self.experience.current_experience, 3)
        self.negatives = make_negatives(self.options.negatives, self.encoder, captions, self.experiences, seed)
        self.teacher = None
        if not self.distils:
            return
        run_images, _ = self.from_run()
        if not run_images:
            self.images = self.task_images(self.sources()[0])
        if self.images is not None and not len(self.images):
            return
        self._reference_order = self._reference_batches()
        self.teacher = self._make_teacher()

    def companion_images(self) -> Tensor | None:
        """Return the next reference images, to be encoded together with the batch."""
        if self.teacher is None or self.images is None:
            return None
        self.reference_index = next(self._reference_order)
        self.reference_pixels = rows_of(self.images, self.reference_index)
        return None if self.plain else self.reference_pixels

    def class_logits(self, features: Tensor) -> Tensor:
        """Keep the batch's features [B, d] for the loss."""
        self.batch_features = features
        return super().class_logits(features)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy plus the weighted distillation terms."""
        loss = self.classification_loss(batch)
        self.log(cross_entropy=loss)
        if self.teacher is None:
            return loss
        student, teacher = self.reference_features(self.teacher, batch)
        for name, weight, term in self.distillation_terms(student, teacher, self.teacher):
            self.log(**{name: term})
            loss = loss + weight * term
        return loss

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Skip the reference images and negatives of the first `step` updates."""
        super().load_task(state, step)
        if self.teacher is not None and self.images is not None:
            for _ in range(step):
                next(self._reference_order)
        if self.negatives is not None:
            self.negatives.skip(step)

    # The loss

    def distillation_terms(self, v_s: Tensor, v_t: Tensor, teacher: Teacher) -> Iterator[tuple[str, float, Tensor]]:
        """Yield (name, weight, value) of each distillation term with a weight, from the features V_s and V_t [B, d]."""
        o, logits = self.options, self.encoder.logits
        half = 0.5 if o.weight_adjust else 1.0
        if o.image_loss or o.text_loss:
            r = teacher.texts()
            z_s, z_t = logits(v_s, r), logits(v_t, r)
            if o.image_loss:
                yield "image_loss", half * o.image_loss, distillation_loss(z_s, z_t, o.temperature)
            if o.text_loss:
                yield "text_loss", half * o.text_loss, distillation_loss(z_s.T, z_t.T, o.temperature)
        if o.feature_mse:
            yield "feature_mse", o.feature_mse, F.mse_loss(v_s, v_t)
        if o.image_image:
            s_s, s_t = logits(v_s, v_s), logits(v_t, v_t)
            yield "image_image", half * o.image_image, image_image_loss(s_s, s_t, o.temperature)

    def reference_features(self, teacher: Teacher, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return V_s [B, d], with gradient, and V_t [B, d] of this step's reference images."""
        if self.images is None:
            return self.batch_features, teacher.images(torch.arange(len(batch.images)), batch.images)
        index, pixels = self.reference_index, self.reference_pixels
        if self.companion_features is not None:
            return self.companion_features, teacher.images(index, pixels)
        pixels = sent(pixels, self.device)
        return self.encoder.encode_images(pixels), teacher.images(index, pixels)

    def classification_loss(self, batch: Batch) -> Tensor:
        """Return the smoothed cross-entropy over the task's classes and the negatives."""
        if self.negatives is None:
            return super().compute_loss(batch)
        negative_logits = self.encoder.logits(self.batch_features, self.negatives.features())
        total = negative_logits.new_zeros(())
        for task in self.tasks_of(batch.task_labels):
            rows = batch.task_labels == task
            logits = self.mb_output[rows, : self.classifier.classes(task)]
            # With replay, the own class of an earlier task's image is among the previous tasks' names.
            if self.options.negatives == "captions" or task == self.experience.task_label:
                logits = torch.cat([logits, negative_logits[rows]], dim=1)
            total = total + self._criterion(logits, batch.labels[rows]) * rows.sum()
        return total / len(batch.labels)

    # The teacher

    def _make_teacher(self) -> Teacher:
        """Return the teacher of the current task, with the outputs that can be computed once."""
        texts, features = self._run_texts, self._run_images
        if texts is not None and features is not None:
            return ComputedOnce(texts, features)
        with self._as_teacher():
            if self.plain:
                tokens = self._sentence_tokens()
                return AskedEachStep(self._frozen_copy(), lambda model: embed_texts(model, tokens))
            r = embed_texts(self.encoder, self._sentence_tokens(), self.progress) if texts is None else texts
            if self.images is None:
                return AskedEachStep(self._frozen_copy(), lambda model: r)
            if features is not None:
                return ComputedOnce(r, features)
            used = torch.unique(torch.cat(list(islice(self._reference_batches(), self.budget(self.experience)))))
            return ComputedOnce(r, embed_images(self.encoder, self.images, used, self.progress), used, len(self.images))

    def _as_teacher(self) -> AbstractContextManager[None]:
        """Return a context in which the encoder has the teacher's weights. Valid only at the start of a task."""
        o = self.options
        theta = None
        if o.teacher == "zero-shot":
            theta = self.initial
        elif o.teacher == "wise":
            theta = interpolate(self.initial, self.weights(), o.teacher_alpha)
        return holding_weights(self.encoder, theta)

    def _frozen_copy(self) -> DualEncoder:
        return copy.deepcopy(self.encoder).requires_grad_(False).eval()

    def _sentence_tokens(self) -> Tensor:
        """Return the tokens [M, context] of all reference sentences."""
        if self.reference is not None and self.from_run()[1]:
            return self.encoder.tokenize(self.reference.sentences)
        return self.task_tokens(self.sources()[1])

    def _reference_batches(self) -> Iterator[Tensor]:
        """Return the indices of the task's reference images, step by step."""
        count = 0 if self.images is None else len(self.images)
        if self.order.reference is None:
            return reference_batches(count, self.reference_size, self.reference_seed)
        if self.images is None:
            raise UserError("Order.reference has no effect with reference_images=batch. Leave out one of them.")
        return map(torch.tensor, endless(GivenBatches("reference", self.order.reference, self.experience, count)))
