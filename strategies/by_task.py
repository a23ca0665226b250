"""Methods with modules per task, of which each test image gets those of one task, chosen by its plain features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.candidates import Candidates
from models.route import PLAIN, routed
from models.scaled import Share
from strategies.engine.strategy import Strategy
from strategies.task_choice import Statistics

LEVELS = 8
"""The scale of a task's modules in the text tower is rounded to this many parts, so that texts are encoded once per level."""


class Choice(NamedTuple):
    """The task of each image [B] whose modules it gets, -1 for none, and the scale of these modules [B] in 0..1."""

    tasks: Tensor
    scales: Tensor


class ByTask(Strategy):
    """Base class: in training the current task's modules, in evaluation for each image those of the task that `choose` returns.

    A test image passes the image tower twice: without modules, for the choice, and with those of its task. Its class prompts
    pass the text tower with the modules of the same task, and are cached by task. Before the first task is trained, and for
    images without a task, the answer is zero-shot's.
    """

    default_tuning = "frozen"

    def before_run(self) -> None:
        """Start without a choice."""
        super().before_run()
        self.choice: Choice | None = None

    def choose(self, features: Tensor) -> Choice:
        """Return the task of each test image, among the `trained` tasks.

        Args:
            features: unit features [B, d] of the images without modules.
        """
        raise NotImplementedError

    def statistics(self, task: int) -> Statistics:
        """Return the statistics that a task has added in `grow` for the choice. There must be one module of them."""
        [found] = [module for module in self.modules_of(task).values() if isinstance(module, Statistics)]
        return found

    def training_route(self) -> Share:
        """Return the current task's modules, with a scale of 1."""
        return Share(self.experience.current_experience, 1.0)

    def test_features(self) -> Tensor:
        """Return the unit features [B, d] of the test batch, each image with the modules of its task."""
        features = self.plain_features()
        self.choice = self.choose(features) if self.trained else None
        return features if self.choice is None else self.with_modules(features, self.choice)

    def with_modules(self, features: Tensor, choice: Choice) -> Tensor:
        """Return features [B, d] in which the images that have a task are encoded with its modules."""
        rows = (choice.tasks >= 0).nonzero().squeeze(1)
        if not len(rows):
            return features
        with routed(Share(choice.tasks[rows], choice.scales[rows])):
            return features.index_copy(0, rows, self.encoder.encode_images(self.mb_x[rows]))

    def predict(self, features: Tensor, candidates: Candidates) -> Tensor:
        """Return logits against class prompts that are encoded with the modules of each image's task."""
        if self.choice is None:
            with routed(PLAIN):
                return super().predict(features, candidates)
        levels = (self.choice.scales * LEVELS).round().long().where(self.choice.tasks >= 0, 0)
        tasks = self.choice.tasks.where(levels > 0, -1)
        scores = features.new_zeros(len(features), len(candidates))
        for task, level in torch.unique(torch.stack([tasks, levels], dim=1), dim=0).tolist():
            rows = ((tasks == task) & (levels == level)).nonzero().squeeze(1)
            with routed(Share(task, level / LEVELS) if level else PLAIN):
                scores = scores.index_copy(0, rows, super().predict(features[rows], candidates))
        return scores
