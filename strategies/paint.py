"""PAINT: fine-tune, then go back part of the way, as far as validation accuracy says; one task after another or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.data.domain import limited
from models.merging import Vector, task_vector
from strategies.alpha_search import Path, Point, Question, Rule, Search, Validation, refine
from strategies.engine.choices import Choosing
from strategies.engine.joint_batches import JointTraining
from strategies.engine.option_checks import check_at_least, check_not_negative


class Patching(Choosing):
    """What PAINT and the merging methods share: how a task is fine-tuned, and the search for alpha.

    Fine-tuning as in PAINT (Ilharco et al. 2022, 2208.05592): the image tower alone, so that text heads never change; the heads
    are template ensembles, in training too (its released code); gradients are clipped to norm 1.

    `patch` goes from some weights along task vectors, as far as the validation splits of the tasks trained so far (patching
    tasks) and of the held-out domains (supported tasks) say; no test image is looked at. `searches` holds a record per task:
    points, their accuracies and the one chosen; `notes` what a user should know, in sentences.
    """

    default_tuning = "visual"
    needs_validation = True

    @dataclass(frozen=True)
    class Options(Choosing.Options):
        """`alpha`: a fixed one, None for a search over `alphas` equal steps of [0, `max_alpha`] by `rule` (`alpha.choose`).

        `validation_images`: of each task the search looks at so many, a seeded choice; None: at all (the paper).
        """

        iterations: int = 2000
        batch_size: int = 128
        warmup: int = 200
        label_smoothing: float = 0.0
        weight_decay: float = 0.1
        clip: float = 1.0
        alpha: float | None = None
        alphas: int = 21
        max_alpha: float = 1.0
        rule: Rule = "mean"
        epsilon: float = 1.0
        validation_images: int | None = None

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("clip", "max_alpha", "epsilon", "alpha"):
                value = getattr(self, name)
                if value is not None:
                    check_not_negative(name, value)
            if self.alpha is not None and self.alpha > self.max_alpha:
                raise ValueError(f"alpha must be in [0, {self.max_alpha:g}] (max_alpha), got {self.alpha}")
            if self.alphas < 2:
                raise ValueError(f"alphas must be at least 2, the ends of the interval, got {self.alphas}")
            if self.validation_images is not None:
                check_at_least("validation_images", self.validation_images, 1)

    @classmethod
    def selects(cls, options: Any) -> bool:
        return options.alpha is None

    def before_run(self) -> None:
        super().before_run()
        self.initial = self.weights()
        self.start: dict[str, int] = {}
        self.validation: Validation | None = None
        self._known: dict[str, int] = {}

    def class_logits(self, features: Tensor) -> Tensor:
        if not self.is_training:
            return super().class_logits(features)
        # The module's own flag alone, not its parts': it is what decides between first template and ensemble.
        self.classifier.training = False
        try:
            return super().class_logits(features)
        finally:
            self.classifier.training = True

    def optimizer_step(self) -> None:
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.options.clip)
        super().optimizer_step()

    def grid(self, count: int) -> list[Point]:
        """The points of a search along `count` vectors: the same alpha for all of them, or the fixed one alone."""
        o = self.options
        alphas = [i * o.max_alpha / (o.alphas - 1) for i in range(o.alphas)] if o.alpha is None else [o.alpha]
        return [(alpha,) * count for alpha in alphas]

    def patch(self, theta_0: dict[str, Tensor], vectors: Sequence[Vector], evaluations: int = 0) -> None:
        """Leave the encoder at the best point from theta_0 along the vectors.

        `evaluations` > 0: then look around the best shared alpha for one alpha per vector (`alpha.refine`).
        """
        o, path, points = self.options, Path(self.encoder, theta_0, vectors), self.grid(len(vectors))
        record: dict[str, Any] = {"task": self.experience.domain.name}
        if o.alpha is None:
            search = Search(self.judge(), path, *self.questions(), o.rule, o.epsilon, self.start)
            search.ask(points)
            if evaluations and len(vectors) > 1:
                refine(search.value, search.best(), o.max_alpha, evaluations)
            points = [search.best()]
            self.rebase(search.correct(points[0]))
            record |= search.record()
        path.move(points[0])
        self.searches.append({**record, "chosen": list(points[0])})

    def judge(self) -> Validation:
        """The validation splits of this run."""
        if self.validation is None:
            domains = (*self.experience.stream_domains, *self.experience.heldout_domains)
            if (count := self.options.validation_images) is not None:
                domains = tuple(limited(domain, count, self.seed) for domain in domains)
            self.validation = Validation(self.encoder, dict(enumerate(domains)), progress=self.progress)
            self.validation.known.update(self._known)
        return self.validation

    def questions(self) -> tuple[list[Question], list[Question]]:
        """Patching and supported tasks of a search, with those rivals that evaluation would let in now."""
        judge, first = self.judge(), len(self.experience.stream_domains)
        patching = [Question(e.task_label, tuple(e.rivals(len(self.experiences)))) for e in self.experiences]
        for question in patching:
            if not judge.size(question):
                name = judge.domains[question.label].name
                raise ValueError(f"the alpha search needs validation images of {name!r}, of which there are none")
        supported = [q for q in map(Question, range(first, len(judge.domains))) if judge.size(q)]
        if not supported:
            self.note("No held-out domain has validation images: alpha is chosen by the trained tasks alone.")
        return patching, supported

    def rebase(self, counts: dict[str, int]) -> None:
        """Called after a search with the correct answers at the point chosen, by question."""

    def state(self) -> dict[str, Any]:
        known = self._known if self.validation is None else self.validation.known
        # Copies: what is given away must not change with the next task.
        return {**super().state(), "start": {**self.start}, "known": {**known}}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.start, self._known = {**state["start"]}, {**state["known"]}


class PaintSequential(Patching):
    """PAINT (Ilharco et al. 2022, 2208.05592), sequential patching: theta_t = (1 - a_t) theta_{t-1} + a_t phi_t.

    phi_t is fine-tuned from theta_{t-1} on task t; a_t is searched on the tasks so far and the supported ones. Earlier tasks'
    training data is not visited again. With rule "bounded" the loss is measured against the initial model.

    Not implemented: several random orders (a run has one). Defaults and their source: AdamW with decay 0.1, clipping, 2,000
    iterations of 128 images at 1e-5 with 200 of warm-up, from the released code and from papers that follow PAINT; 21 alphas,
    the markers of its figure; equal weight of patching and supported tasks, ties to the smaller alpha: our reading. The
    learning rate's decay reaches 0 one step earlier than there.

    Command: `python cli.py bench mtil --strategy paint-sequential`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 59.4 to 63.7, Average 61.1 to 61.9, Last 63.7 to 65.8.
    """

    def before_experience(self) -> None:
        super().before_experience()
        self.anchor = self.weights()

    def after_experience(self) -> None:
        super().after_experience()
        self.patch(self.anchor, [task_vector(self.anchor, self.weights())])

    def rebase(self, counts: dict[str, int]) -> None:
        # The next search starts where this one ended, so its alpha = 0 is known.
        self.judge().known = counts


class PaintJoint(JointTraining, Patching):
    """PAINT (Ilharco et al. 2022, 2208.05592), joint patching: one fine-tuning on all tasks so far, one alpha.

    Row j is the model of the first j tasks, each time from the initial weights. Batches come from the tasks in turn, each with
    its own frozen head (as papers that follow PAINT describe it). `joint_budget`: updates of row j, as many as for its last
    task alone ("task") or for all of its tasks ("sum"). The rest as in paint-sequential.

    Command: `python cli.py bench mtil --strategy paint-joint`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 60.9 to 63.5, Average 60.2 to 60.8, Last 62.2 to 62.6.
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        joint_budget: Literal["task", "sum"] = "sum"

    def after_experience(self) -> None:
        super().after_experience()
        self.patch(self.initial, [task_vector(self.initial, self.weights())])


class TaskVectors(Patching):
    """Fine-tune each task from the initial weights and keep its task vector, on the CPU; row j combines the first j."""

    def before_run(self) -> None:
        super().before_run()
        self.vectors: list[Vector] = []

    def before_experience(self) -> None:
        super().before_experience()
        self.set_weights(self.initial)

    def after_experience(self) -> None:
        super().after_experience()
        vector = task_vector(self.initial, self.weights())
        self.vectors.append({name: tensor.cpu() for name, tensor in vector.items()})
        self.combine()

    def combine(self) -> None:
        """Give the encoder the weights that the vectors so far make."""
        self.patch(self.initial, self.vectors)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "vectors": [*self.vectors]}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.vectors = [{name: tensor.cpu() for name, tensor in vector.items()} for vector in state["vectors"]]


class PaintParallel(TaskVectors):
    """PAINT (Ilharco et al. 2022, 2208.05592), parallel patching: theta = theta_0 + sum_i a_i (phi_i - theta_0).

    phi_i is fine-tuned on task i from the initial weights; no two tasks' data is needed at once. `search`: one alpha for all
    ("shared": task arithmetic) or one each ("vector"), by `evaluations` more points around the best shared one
    (`alpha.refine`; their number is our choice). The sum of the alphas is not bounded. The rest as in paint-sequential.

    Command: `python cli.py bench mtil --strategy paint-parallel`.
    Expected, mini edition, Order I, seed 0: Transfer 64.1, Average 60.7, Last 62.9.
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        search: Literal["shared", "vector"] = "shared"
        evaluations: int = 50

        def __post_init__(self) -> None:
            super().__post_init__()
            check_at_least("evaluations", self.evaluations, 1)

    def combine(self) -> None:
        self.patch(self.initial, self.vectors, self.options.evaluations if self.options.search == "vector" else 0)
