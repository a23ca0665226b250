"""Keep the weights of the pass with the best validation accuracy: the option `best_pass` of every method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks.scenario import DomainExperience
from metrics.evaluate import evaluate
from models.classifier import PromptClassifier
from models.registry import UserError
from models.route import routed
from strategies.engine.training_options import TrainingOptions


class BestPass:
    """The best weights of a task so far, by the accuracy on validation images, each among its task's classes.

    With several tasks, as in joint training, it is the mean of their accuracies, and a pass is over the images of all.
    Of passes with the same accuracy the earliest is kept. The model before training is not a candidate. Validation draws no
    random number and changes no weight, so the losses are the same with and without it.

    Args:
        classifier: the model that trains.
        experiences: the tasks that train, the current one last.
        batch_size: images per update.
        route: the route of training batches (`Strategy.training_route`), under which the validation images are classified.

    Raises:
        UserError: a task has no validation images.
    """

    def __init__(
        self, classifier: PromptClassifier, experiences: Sequence[DomainExperience], batch_size: int, route: Any = None
    ):
        self._classifier, self._experiences, self._route = classifier, experiences, route
        self._per_pass = sum(math.ceil(len(experience.dataset) / batch_size) for experience in experiences)
        self.accuracies: dict[int, float] = {}
        self._weights: dict[str, Tensor] = {}
        self._heads: dict[str, Tensor] = {}
        for domain in (experience.domain for experience in experiences):
            if domain.val is None or not len(domain.val):
                raise UserError(
                    f"best_pass needs validation images of {domain.name!r}. Add a validation split, or set best_pass=false."
                )

    def after_update(self, updates: int, last: bool) -> None:
        """Validate if a pass, or the training of the task, ends after this many updates."""
        if updates % self._per_pass and not last:
            return
        with routed(self._route):
            accuracy = fmean(
                evaluate(self._classifier, experience.domain, "val", task_label=experience.task_label).percent
                for experience in self._experiences
            )
        best = accuracy > max(self.accuracies.values(), default=-1.0)
        self.accuracies[updates] = accuracy
        if best:
            self._weights = {name: t.detach().clone() for name, t in self._classifier.encoder.state_dict().items()}
            self._heads = self._classifier.head_state()

    def restore(self) -> None:
        """Give the classifier the weights of the best pass, if there was one."""
        if self._weights:
            self._classifier.encoder.load_state_dict(self._weights)
            load_heads(self._classifier, self._heads)

    def record(self) -> dict[str, Any]:
        """Return the record for `Strategy.searches`: validation accuracy in percent by updates, and the chosen updates."""
        chosen = max(self.accuracies, key=self.accuracies.__getitem__, default=None)
        passes = [{"updates": updates, "val": percent} for updates, percent in self.accuracies.items()]
        return {"task": self._experiences[-1].domain.name, "passes": passes, "best_updates": chosen}

    def state(self) -> dict[str, Any]:
        """Return what a continued run needs."""
        accuracies = {str(updates): percent for updates, percent in self.accuracies.items()}
        return {"accuracies": accuracies, "weights": {**self._weights}, "heads": {**self._heads}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.accuracies = {int(updates): percent for updates, percent in state["accuracies"].items()}
        self._weights, self._heads = {**state["weights"]}, {**state["heads"]}


@torch.no_grad()
def load_heads(classifier: PromptClassifier, heads: Mapping[str, Tensor]) -> None:
    """Write saved heads of a probe in place, because the optimiser holds these parameters."""
    for label, head in heads.items():
        classifier.heads[label].copy_(head)


def best_pass(
    classifier: PromptClassifier, experiences: Sequence[DomainExperience], options: TrainingOptions, route: Any
) -> BestPass | None:
    """Return a `BestPass` with the option `best_pass`, otherwise None."""
    return BestPass(classifier, experiences, options.batch_size, route) if options.best_pass else None
