"""Distillation: its losses, teachers that do not move, and what of them can be computed once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.reference import FileImages
from benchmarks.reference_lookup import OWN_IMAGES, OWN_SENTENCES
from models import tuning
from models.encoder import DualEncoder
from models.registry import UserError
from models.weights import interpolate
from strategies.engine.batches import kept_on, mixed_seed, rows_of, sent
from strategies.engine.option_checks import check_fraction, check_not_negative
from strategies.engine.strategy import Batch, Strategy
from strategies.negatives import CAPTIONS, Kind, Negatives
from strategies.reference_sources import NoiseImages, random_sentences

DIAGONAL = -1e4


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 * mean over rows of the soft cross-entropy -sum_j softmax(teacher / T)_j log_softmax(student / T)_j.

    Logits [B, M]; the teacher is detached. Cross-entropy, not KL: it differs by the teacher's entropy, a constant, so the
    gradient is the same (ZSCL's released code).
    """
    target = F.softmax(teacher_logits.detach() / temperature, dim=1)
    rows = -(target * F.log_softmax(student_logits / temperature, dim=1)).sum(dim=1)
    return temperature**2 * rows.mean()


def image_image_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """`distillation_loss` of the images' similarities to each other [B, B], an image's to itself replaced by -1e4.

    ZSCL's released code (--ablation_loss_2).
    """
    itself = torch.eye(len(student_logits), dtype=torch.bool, device=student_logits.device)
    student, teacher = (logits.masked_fill(itself, DIAGONAL) for logits in (student_logits, teacher_logits))
    return distillation_loss(student, teacher, temperature)


class Distillation(Strategy):
    """What methods share that keep a model near a teacher's outputs on reference data; by itself it is no method.

    Loss: cross-entropy + image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T) + feature_mse * mean (V_s - V_t)^2
    + image_image * D'(V_s V_s^T, V_t V_t^T). V are unit features of a batch of reference images by student and teacher, R the
    teacher's of all reference sentences, Z = exp(logit_scale) * V R^T; V V^T is scaled like it; D is `distillation_loss`, D'
    `image_image_loss`. R is the teacher's in both Z_s and Z_t, so distillation sends gradient to the image tower only.
    `weight_adjust` halves image_loss, text_loss and image_image. A term of weight 0 is not computed. Names, formulas and
    defaults are those of ZSCL's released code (2303.06628).

    teacher: "zero-shot", the initial model; "previous", the model at the start of the task; "wise", between them at
    (1 - teacher_alpha) * initial + teacher_alpha * previous. It stands still during a task. (The teacher of the released
    class-incremental code, where it is the previous model, shares its tensors with the student, so that its losses have no
    gradient.)

    Reference images and sentences are named by words (`sources`): those of `reference_sources`, or data that came with the run.
    What the teacher says of them is computed once: per run where neither teacher nor data change, otherwise at the start of a
    task, of those images that the task will look at. Only of "batch", whose images are augmented, is a copy of the teacher
    asked in each step; with `exactness` "plain" of everything. Other images have the evaluation transform and pass through the
    student together with the batch, or in a pass of their own.

    negatives: texts that compete with the task's classes in the cross-entropy (`strategies.negatives`). "captions": 100 of the
    run's reference sentences, drawn anew in each step; "previous": the class names of earlier tasks, less those that the
    current one has too (our choice). The released class-incremental code's ce_method "ext" and "previous".
    """

    images: Any
    initial: dict[str, Tensor]
    teacher: DualEncoder | None
    teacher_texts: Tensor
    teacher_images: Tensor
    negatives: Negatives | None
    _rows: Tensor | None
    _sentences: Tensor | None

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        image_loss: float = 1.0
        text_loss: float = 1.0
        feature_mse: float = 0.0
        image_image: float = 0.0
        weight_adjust: bool = False
        temperature: float = 2.0
        teacher: Literal["zero-shot", "previous", "wise"] = "zero-shot"
        teacher_alpha: float = 0.8
        negatives: Kind = "none"

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("image_loss", "text_loss", "feature_mse", "image_image"):
                check_not_negative(f"the weight {name}", getattr(self, name))
            if not self.temperature > 0:
                raise ValueError(f"temperature must be greater than 0, got {self.temperature}")
            check_fraction("teacher_alpha", self.teacher_alpha)

    # What a method says

    def sources(self) -> tuple[str, str]:
        """The words for this method's reference images and sentences."""
        return self.options.reference_images, self.options.reference_sentences

    @property
    def reference_size(self) -> int:
        """Reference images in a step: as many as in a batch (the released code)."""
        return self.options.batch_size

    def task_images(self, word: str) -> Any:
        """The current task's reference images, indexed by a tensor of indices; None: the batch itself."""
        if word == "batch":
            return None
        if word == "noise":
            return NoiseImages(self.encoder.image_size, mixed_seed(self.seed, self.experience.current_experience, 1))
        return FileImages(self.experience.domain.train, self.encoder.preprocess)

    def task_tokens(self, word: str) -> Tensor:
        """The tokens [M, context] of the current task's reference sentences."""
        if word == "random":
            return random_sentences(self.encoder, mixed_seed(self.seed, self.experience.current_experience, 2))
        return self.encoder.tokenize(self.experience.domain.prompts(0))

    @classmethod
    def reference_count(cls, options: Any, updates: Sequence[int]) -> int | None:
        """Those of the longest task where every task looks at the same ones, else of all tasks together."""
        looks = sum(updates) if getattr(options, "reference_reshuffle", True) else max(updates)
        return looks * getattr(options, "reference_batch", options.batch_size)

    # Hooks

    def before_run(self) -> None:
        super().before_run()
        o, reference = self.options, self.reference
        self.images, self.teacher, self.negatives, self._rows = None, None, None, None
        if o.negatives == "captions":
            if reference is None or not reference.sentences:
                raise ValueError("negatives=captions needs reference sentences")
            self._captions = self.encoder.tokenize(reference.sentences)
        self.distils = max(o.image_loss, o.text_loss, o.feature_mse, o.image_image) > 0
        if not self.distils:
            return
        self.refuse_probe("the image tower that distillation acts on")
        if not tuning.trains_images(self.encoder) and self.encoder.image_adapter is None:
            raise UserError(
                f"{type(self).__name__} distils images, and under this tuning nothing trains that images pass through."
            )
        given_images, given_sentences = self._given()
        fixed = o.teacher == "zero-shot"
        if given_images and (reference is None or not len(reference.images)):
            raise ValueError(f"{type(self).__name__} needs reference images")
        if given_sentences and (reference is None or not reference.sentences):
            raise ValueError(f"{type(self).__name__} needs reference sentences")
        if o.teacher == "wise" or (fixed and not (given_images and given_sentences)):
            self.initial = self.weights()
        if given_images:
            self.images = kept_on(reference.images, self.device)
        if self.plain:
            self.teacher = self._copy() if fixed else None
            self._sentences = self.encoder.tokenize(reference.sentences) if given_sentences else None
        elif fixed:
            with self.teaching(initial=True):
                if given_sentences:
                    self.teacher_texts = self.embed_sentences()
                if given_images:
                    self.teacher_images = self.embed_images()

    def before_experience(self) -> None:
        super().before_experience()
        self.negatives = self._negatives()
        self.distils_now = self.distils
        if not self.distils:
            return
        (image_word, sentence_word), (given_images, given_sentences) = self.sources(), self._given()
        fixed = self.options.teacher == "zero-shot"
        if not given_images:
            self.images = self.task_images(image_word)
        self.distils_now = self.images is None or len(self.images) > 0
        if not self.distils_now:
            return
        self._reference_order = self._reference_batches()
        if self.plain:
            if not given_sentences:
                self._sentences = self.task_tokens(sentence_word)
            if not fixed:
                with self.teaching():
                    self.teacher = self._copy()
            return
        texts_known, images_known = fixed and given_sentences, fixed and given_images
        if texts_known and images_known:
            return
        with self.teaching():
            if not texts_known:
                self.teacher_texts = (
                    self.embed_sentences() if given_sentences else self._embed_tokens(self.task_tokens(sentence_word))
                )
            if self.images is None:
                self.teacher = self._copy()
            elif not images_known:
                looked_at = torch.cat(list(islice(self._reference_batches(), self.budget(self.experience)))).unique()
                self._rows = torch.full((len(self.images),), -1)
                self._rows[looked_at] = torch.arange(len(looked_at))
                self.teacher_images = self.embed_images(looked_at)

    def companion_images(self) -> Tensor | None:
        if not self.distils_now or self.images is None:
            return None
        self.reference_index = next(self._reference_order)
        if not self.plain:
            return rows_of(self.images, self.reference_index)
        self._reference_pixels = sent(rows_of(self.images, self.reference_index), self.device)
        return None

    def class_logits(self, features: Tensor) -> Tensor:
        self.batch_features = features
        return super().class_logits(features)

    def compute_loss(self, batch: Batch) -> Tensor:
        loss = self.classification_loss(batch)
        self.log(cross_entropy=loss)
        for name, weight, term in self.distillation_terms(batch) if self.distils_now else ():
            self.log(**{name: term})
            loss = loss + weight * term
        return loss

    def load_task(self, state: dict[str, Any], step: int) -> None:
        super().load_task(state, step)
        if self.distils_now and self.images is not None:
            for _ in range(step):
                next(self._reference_order)
        if self.negatives is not None:
            self.negatives.skip(step)

    # Pieces

    def classification_loss(self, batch: Batch) -> Tensor:
        """Smoothed cross-entropy over the task's classes, and over the negatives where there are any."""
        if self.negatives is None:
            return super().compute_loss(batch)
        against = self.encoder.logits(self.batch_features, self.negatives.features())
        total, everywhere = against.new_zeros(()), self.options.negatives == "captions"
        for task in torch.unique(batch.task_labels).tolist():
            mine = batch.task_labels == task
            logits = self.mb_output[mine, : self.classifier.classes(task)]
            # Images of an earlier task (replay) would have their own class among the previous tasks' names.
            if everywhere or task == self.experience.task_label:
                logits = torch.cat([logits, against[mine]], dim=1)
            total = total + self._criterion(logits, batch.labels[mine]) * mine.sum()
        return total / len(batch.labels)

    def distillation_terms(self, batch: Batch) -> Iterator[tuple[str, float, Tensor]]:
        """(name, weight, value) of each distillation term of this step that has a weight."""
        o, logits = self.options, self.encoder.logits
        student, teacher = self._both(batch)
        adjusted = 0.5 if o.weight_adjust else 1.0
        if o.image_loss or o.text_loss:
            texts = self._texts_now() if self.plain else self.teacher_texts
            ours, theirs = logits(student, texts), logits(teacher, texts)
            if o.image_loss:
                yield "image_loss", adjusted * o.image_loss, distillation_loss(ours, theirs, o.temperature)
            if o.text_loss:
                yield "text_loss", adjusted * o.text_loss, distillation_loss(ours.T, theirs.T, o.temperature)
        if o.feature_mse:
            yield "feature_mse", o.feature_mse, F.mse_loss(student, teacher)
        if o.image_image:
            similar = image_image_loss(logits(student, student), logits(teacher, teacher), o.temperature)
            yield "image_image", adjusted * o.image_image, similar

    @contextmanager
    def teaching(self, initial: bool = False) -> Iterator[None]:
        """The encoder as the teacher, in evaluation mode, without gradients; afterwards it is the student again, to the bit.

        For the start of a task, where the model is the previous one; `initial`: for the start of the run.
        """
        o, encoder, student = self.options, self.encoder, None
        was_training = encoder.training
        if not initial and o.teacher != "previous":
            student = {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}
            zero_shot = o.teacher == "zero-shot"
            self.set_weights(self.initial if zero_shot else interpolate(self.initial, self.weights(), o.teacher_alpha))
        encoder.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            if student is not None:
                encoder.load_state_dict(student)
            encoder.train(was_training)

    def embed_images(self, index: Tensor | None = None, chunk: int = 256) -> Tensor:
        """Features [N, d] of the reference images, or of those with these indices, under the current weights."""
        index = torch.arange(len(self.images)) if index is None else index
        features = []
        for i, part in enumerate(index.split(chunk)):
            self.progress(i * chunk, len(index), "teacher: reference images")
            features.append(self.encoder.encode_images(sent(rows_of(self.images, part), self.device)))
        return torch.cat(features)

    def embed_sentences(self, chunk: int = 512) -> Tensor:
        """Features [M, d] of the reference sentences that came with the run, under the current weights."""
        said, features = self.reference.sentences, []
        for i in range(0, len(said), chunk):
            self.progress(i, len(said), "teacher: reference sentences")
            features.append(self._embed_tokens(self.encoder.tokenize(said[i : i + chunk])))
        return torch.cat(features)

    def _embed_tokens(self, tokens: Tensor, chunk: int = 512) -> Tensor:
        return torch.cat([self.encoder.encode_texts(part) for part in tokens.split(chunk)])

    def _both(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of this step's reference images by the student, with gradient, and by the teacher, without."""
        if self.teacher is None:
            rows = self.reference_index if self._rows is None else self._rows[self.reference_index]
            return self.companion_features, self.teacher_images[rows.to(self.device, non_blocking=True)]
        if self.images is None:
            pixels, student = batch.images, self.batch_features
        else:
            pixels, student = self._reference_pixels, self.encoder.encode_images(self._reference_pixels)
        with torch.no_grad():
            return student, self.teacher.encode_images(pixels)

    def _texts_now(self, chunk: int = 512) -> Tensor:
        """What the teacher says of all reference sentences, computed anew."""
        assert self.teacher is not None and self._sentences is not None
        with torch.no_grad():
            return torch.cat([self.teacher.encode_texts(part) for part in self._sentences.split(chunk)])

    def _copy(self) -> DualEncoder:
        """The encoder as it stands, for a teacher that is asked in each step."""
        return copy.deepcopy(self.encoder).requires_grad_(False).eval()

    def _given(self) -> tuple[bool, bool]:
        """Whether reference images and sentences came with the run, and are the same in every task."""
        images, sentences = self.sources()
        return images not in OWN_IMAGES, sentences not in OWN_SENTENCES

    def _negatives(self) -> Negatives | None:
        """The current task's negatives."""
        kind, seed = self.options.negatives, mixed_seed(self.seed, self.experience.current_experience, 3)
        if kind == "none":
            return None
        if kind == "captions":
            return Negatives(self.encoder, self._captions, seed, CAPTIONS)
        *earlier, current = self.experiences
        own = set(current.domain.prompts(0))
        prompts = dict.fromkeys(text for e in earlier for text in e.domain.prompts(0) if text not in own)
        return Negatives(self.encoder, self.encoder.tokenize(list(prompts)), seed) if prompts else None

    def _reference_batches(self) -> Iterator[Tensor]:
        """Indices [reference_size] into the reference images: a seeded shuffle, and another one when it is used up."""
        own = mixed_seed(self.seed, self.experience.current_experience)
        generator = torch.Generator().manual_seed(own if getattr(self.options, "reference_reshuffle", True) else self.seed)
        size = min(self.reference_size, len(self.images))
        while True:
            order = torch.randperm(len(self.images), generator=generator)
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]
