"""Base class of methods that add a classifier of the learned classes to frozen features, without updates."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from models.candidates import Candidates
from models.setting import setting
from strategies.engine.strategy import Strategy


class ClosedForm(Strategy):
    """A classifier of the learned classes, and zero-shot for all others.

    p are the probabilities of all candidates by their prompts (zero-shot), r the method's scores of the learned classes. If the
    largest p belongs to a learned class, the learned classes compete with

        (1 - share) * p + share * r

    and otherwise the answer is zero-shot's. A class that is not learned and has the same prompt as a learned one counts as not
    learned. So an image whose task is not learned gets zero-shot's answer unless zero-shot takes it for a learned class, which
    is wrong in any case: Transfer is exactly zero-shot's. With rule "always" all images get the formula, with r = 0 for classes
    that are not learned.
    """

    options: Options
    trains = False
    default_tuning = "frozen"

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of every closed-form method."""

        share: float = setting(1.0, "share of the learned classifier in the score of a learned class", least=0, most=1)
        rule: Literal["zero-shot", "always"] = setting(
            "zero-shot", "images for the learned classifier: those that zero-shot takes for a learned class, or always all"
        )

    @abstractmethod
    def learn(self, features: Tensor, labels: Tensor, classes: int) -> None:
        """Add a task to the classifier.

        Args:
            features: unit features [N, d] of its training images.
            labels: labels [N] in 0..classes-1.
            classes: number of classes. Their columns come after those of the tasks before.
        """

    @abstractmethod
    def learned_scores(self, features: Tensor) -> Tensor:
        """Return the scores r [B, C] of unit features [B, d] for the C learned classes, in the order of learning."""

    def before_run(self) -> None:
        """Start without learned classes: `learned` holds the label and the number of classes of each learned task."""
        super().before_run()
        self.learned: dict[int, int] = {}

    def after_experience(self) -> None:
        """Learn the task's classes from one pass over its training images."""
        super().after_experience()
        features, labels = self.task_features()
        classes = len(self.experience.domain.classnames)
        self.learn(features, labels, classes)
        self.learned[self.experience.task_label] = classes

    def predict(self, features: Tensor, candidates: Candidates) -> Tensor:
        """Return logits: zero-shot's, or those of the learned classifier times the logit scale."""
        logits = super().predict(features, candidates)
        # The row before training may be evaluated before `before_run`.
        places = self._places(candidates) if self.trained else []
        if not places:
            return logits
        columns, rows = (torch.tensor(part, device=logits.device) for part in zip(*places, strict=True))
        probabilities = logits.softmax(dim=1)
        scores = torch.zeros_like(probabilities)
        scores[:, columns] = self.learned_scores(features)[:, rows].to(scores)
        mixed = (1 - self.options.share) * probabilities + self.options.share * scores
        scale: Tensor = self.encoder.clip.logit_scale.exp()
        if self.options.rule == "always" or len(columns) == len(candidates):
            return scale * mixed
        learned = torch.zeros(len(candidates), dtype=torch.bool, device=logits.device).index_fill(0, columns, True)
        taken = logits[:, learned].amax(dim=1) > logits[:, ~learned].amax(dim=1)
        below = mixed[:, learned].amin(dim=1, keepdim=True) - 1
        return torch.where(taken[:, None], scale * mixed.where(learned, below), logits)

    def _places(self, candidates: Candidates) -> list[tuple[int, int]]:
        """Return for each learned candidate its position among the candidates and among the learned classes."""
        places, start = [], 0
        for task, classes in self.learned.items():
            if task in candidates.tasks:
                first = candidates.columns(task).start
                places += [(first + label, start + label) for label in range(classes)]
            start += classes
        return places

    def state(self) -> dict[str, Any]:
        """Return the learned tasks."""
        learned = {str(task): classes for task, classes in self.learned.items()}
        return {**super().state(), "learned": learned}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the learned tasks."""
        super().load(state)
        self.learned = {int(task): int(classes) for task, classes in state["learned"].items()}
