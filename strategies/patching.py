"""Patching: fine-tune the image tower, then go back part of the way. An alpha searched on validation images tells how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.data.domain import Domain, limited
from benchmarks.scenario import DomainExperience
from metrics.weight_cosine import weight_cosine
from models.merging import Vector, patched
from models.setting import setting
from strategies.alpha_search import AnswerCounter, Path, Point, Question, Search, refine
from strategies.engine.strategy import Strategy


class Patching(Strategy):
    """Base class of PAINT and the merging methods: how a task is fine-tuned, and the search for alpha.

    Fine-tuning is PAINT's (Ilharco et al. 2022, 2208.05592). Only the image tower trains, so text heads never change. The heads
    are template ensembles, in training too (its released code). Gradients are clipped to norm 1.

    `patch` moves the encoder from some weights along task vectors. It chooses how far on validation images: those of all tasks
    trained so far (patching tasks) and of the held-out domains (supported tasks). So the validation images of earlier tasks
    must be kept. It reads no test image. `searches` gets a record per
    task: the points, their accuracies and the chosen point.
    """

    options: Options
    default_tuning = "visual"
    needs_validation = True
    replaces_weights = True
    trains_on_ensembles = True

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of every method that patches.

        The search evaluates `alphas` equal steps of [0, `max_alpha`] and chooses by `rule` (`alpha_search.choose`). The
        paper uses all validation images; `validation_images` takes a seeded choice.
        """

        iterations: int = 2000
        batch_size: int = 128
        warmup: int = 200
        label_smoothing: float = 0.0
        weight_decay: float = 0.1
        clip: float = setting(1.0, "largest norm of the gradients; 0: no limit", least=0)
        alpha: float | None = setting(None, "fixed alpha; none: search it on validation images", least=0)
        alphas: int = setting(21, "points of the search in [0, max_alpha], both ends included", least=2)
        max_alpha: float = setting(1.0, "largest alpha", least=0)
        rule: Literal["mean", "bounded"] = setting(
            "mean", "mean of patching and supported accuracy, or patching accuracy within a bound"
        )
        epsilon: float = setting(1.0, "points of supported accuracy that rule=bounded may lose", least=0)
        validation_images: int | None = setting(None, "validation images per task for the search; none: all", least=1)
        curve: bool = setting(
            False,
            "also record test accuracy between the weights before and after each task; nothing is chosen by it",
            usual=False,
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.alpha is not None and self.alpha > self.max_alpha:
                raise ValueError(f"alpha must be in [0, {self.max_alpha:g}] (max_alpha), got {self.alpha}")

    @classmethod
    def selects(cls, options: Any) -> bool:
        """Return whether alpha is searched, or the best pass."""
        return options.alpha is None or options.best_pass

    def before_run(self) -> None:
        """Keep the initial weights."""
        super().before_run()
        self.initial: dict[str, Tensor] = self.weights()
        self.start: dict[str, int] = {}
        self.validation: AnswerCounter | None = None
        self._known: dict[str, int] = {}

    def class_logits(self, features: Tensor) -> Tensor:
        """Return logits against template ensembles, in training too."""
        if not self.is_training:
            return super().class_logits(features)
        # Only the flag of the module itself, not of its layers: it decides between first template and ensemble.
        self.classifier.training = False
        try:
            return super().class_logits(features)
        finally:
            self.classifier.training = True

    def optimizer_step(self) -> None:
        """Clip the gradients, then update."""
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.options.clip)
        super().optimizer_step()

    # The search

    @property
    def refinements(self) -> int:
        """Points to evaluate around the best shared alpha, in search of one alpha per vector; 0: one for all."""
        return 0

    def grid(self, count: int) -> list[Point]:
        """Return the points of a search along `count` vectors, each with one alpha for all; only the fixed one if set."""
        return self.steps(count) if self.options.alpha is None else [(self.options.alpha,) * count]

    def steps(self, count: int) -> list[Point]:
        """Return `alphas` equal steps of [0, max_alpha] as points along `count` vectors."""
        o = self.options
        return [(i * o.max_alpha / (o.alphas - 1),) * count for i in range(o.alphas)]

    def patch(self, theta_0: dict[str, Tensor], vectors: Sequence[Vector]) -> None:
        """Move the encoder to the best point theta_0 + sum_i alpha_i v_i, and record the search."""
        o, path, points = self.options, Path(self.encoder, theta_0, vectors), self.grid(len(vectors))
        record: dict[str, Any] = {"task": self.experience.domain.name}
        if o.alpha is None:
            search = Search(self.validation_splits(), path, *self.questions(), o.rule, o.epsilon, self.start)
            search.ask(points)
            if self.refinements and len(vectors) > 1:
                refine(search.value, search.best(), o.max_alpha, self.refinements)
            points = [search.best()]
            self.after_search(search.correct(points[0]))
            record |= search.record()
        if o.curve:
            record["curve"] = self.curve(path, points[0])
            record["weight_cosine"] = _cosine(theta_0, vectors, self.steps(len(vectors))[-1])
        path.move(points[0])
        self.searches.append({**record, "chosen": list(points[0])})

    def curve(self, path: Path, chosen: Point) -> list[dict[str, Any]]:
        """Return the correct answers between the weights before (alpha 0) and the fine-tuned ones, one record per test set.

        The points are `alphas` equal steps and the chosen one. Tasks that are neither patched nor held out have only the ends
        and the chosen point. `lost` is the number of images that are right before and wrong at a point. `cka` and
        `cka_debiased` compare the image features at both ends of the steps: before and, with `max_alpha` 1 and one vector,
        fine-tuned. Each point is counted as evaluation would count it now. No choice depends on the result.
        """
        stream, heldout = list(self.experience.origin_stream), self.experience.heldout_domains
        steps = self.steps(len(chosen))
        every = sorted({*steps, chosen})
        few = sorted({steps[0], chosen, steps[-1]})
        patched = {experience.task_label for experience in self.patching_tasks()}
        domains = dict(enumerate((*self.experience.stream_domains, *heldout)))
        tests = self._counter(domains, "test")
        questions = [Question(e.task_label, tuple(e.rivals(len(self.experiences)))) for e in stream]
        questions += [Question(label) for label in range(len(stream), len(tests.domains))]
        records = []
        for question in questions:
            label, name = question.label, tests.domains[question.label].name
            tested = label < len(stream)
            points = few if tested and label not in patched else every
            self.progress(label, len(questions), f"alpha curve: {name}")
            result = tests.compare(path, points, question)
            records.append({
                "stream": "test" if tested else "heldout", "task": name, "points": [list(point) for point in points],
                "correct": result.correct, "n": tests.size(question), "lost": result.lost,
                "cka": result.cka, "cka_debiased": result.cka_debiased,
            })  # fmt: skip
        return records

    def _counter(self, domains: Mapping[int, Domain], split: Literal["val", "test"]) -> AnswerCounter:
        rule = self.experience.duplicates
        return AnswerCounter(self.encoder, domains, split, self.progress, duplicates=rule, classifier=self.classifier)

    def validation_splits(self) -> AnswerCounter:
        """Return the validation splits of this run, read on first use."""
        if self.validation is None:
            domains = (*self.experience.stream_domains, *self.experience.heldout_domains)
            if (count := self.options.validation_images) is not None:
                domains = tuple(limited(domain, count, self.seed) for domain in domains)
            self.validation = self._counter(dict(enumerate(domains)), "val")
            self.validation.known.update(self._known)
        return self.validation

    def patching_tasks(self) -> list[DomainExperience]:
        """Return the experiences whose validation accuracy a search raises. Here: all tasks so far."""
        return self.experiences

    def questions(self) -> tuple[list[Question], list[Question]]:
        """Return the patching and supported tasks of a search, with the rivals that evaluation would let in now."""
        splits, first = self.validation_splits(), len(self.experience.stream_domains)
        patching = [Question(e.task_label, tuple(e.rivals(len(self.experiences)))) for e in self.patching_tasks()]
        for question in patching:
            if not splits.size(question):
                name = splits.domains[question.label].name
                raise ValueError(f"the alpha search needs validation images of {name!r}; --set alpha=VALUE skips the search")
        supported = [q for q in map(Question, range(first, len(splits.domains))) if splits.size(q)]
        if not supported:
            self.note("No held-out domain has validation images, so alpha is chosen by the trained tasks only.")
        return patching, supported

    def after_search(self, counts: dict[str, int]) -> None:
        """Receive the correct answers at the chosen point, by question. Called after each search."""

    def state(self) -> dict[str, Any]:
        """Return the known validation counts."""
        known = self._known if self.validation is None else self.validation.known
        # Copies: a saved state must not change with the next task.
        return {**super().state(), "start": {**self.start}, "known": {**known}}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the known validation counts."""
        super().load(state)
        self.start, self._known = {**state["start"]}, {**state["known"]}


def _cosine(theta_0: dict[str, Tensor], vectors: Sequence[Vector], point: Point) -> float | None:
    """Return the cosine between the weights before and at a point, of the tensors that the vectors change, or None.

    Other tensors, such as those of the text tower, would bring it near 1 for models that differ.
    """
    changed = {name: theta_0[name] for vector in vectors for name in vector}
    if not changed:
        return None
    try:
        return weight_cosine(changed, patched(changed, vectors, point))
    except ValueError:
        return None
