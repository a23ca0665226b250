"""An Avalanche plugin that keeps the predictions of the last evaluation, image by image."""

from __future__ import annotations

from typing import Protocol

import torch
from avalanche.evaluation import PluginMetric
from torch import Tensor

from benchmarks.scenario import DomainExperience
from models.classifier import PromptClassifier

TOP = 5
"""Classes per image that are kept with their probabilities."""
NO_CLASS = -2
"""Best class of a competing task whose classes are all classes of the image's task."""
Predictions = dict[str, Tensor]


class PredictingStrategy(Protocol):
    """The attributes of `strategies.Strategy` that are read."""

    experience: DomainExperience
    classifier: PromptClassifier
    mb_output: Tensor
    mb_y: Tensor


def predictions(logits: Tensor, columns: list[tuple[int, list[int]]], tasks: int) -> Predictions:
    """Return the values that are kept of a batch.

    Args:
        logits: logits [B, C] in the order of `columns`.
        columns: each competing task with its classes (`PromptClassifier.columns`); the first is the images' task.
        tasks: number of tasks T of the stream.

    Returns:
        `top_task`, `top_class` (from 0) and `top_probability` [B, K] of the K largest logits. `best` (class), `score` and
        `mass` (log-sum-exp) [B, T + 1]: column 0 is for the images' task, column t for task t of the stream. A task that does
        not compete has the class -1 and the score -inf, one without other classes `NO_CLASS`. Tasks count from 1, and held-out
        domains come after the stream's tasks.
    """
    widths = [len(classes) for _, classes in columns]
    task_of = torch.tensor([task + 1 for task, classes in columns for _ in classes], device=logits.device)
    class_of = torch.tensor([each for _, classes in columns for each in classes], device=logits.device)
    logits = logits[:, : sum(widths)].float()
    top = logits.softmax(dim=1).topk(min(TOP, logits.shape[1]))
    best = torch.full((len(logits), tasks + 1), -1, dtype=torch.int32, device=logits.device)
    score = torch.full((len(logits), tasks + 1), -torch.inf, device=logits.device)
    mass = score.clone()
    for place, ((task, _), part, classes) in enumerate(
        zip(columns, torch.split(logits, widths, dim=1), torch.split(class_of, widths), strict=True)
    ):
        for column in ([0] if place == 0 else []) + ([task + 1] if task < tasks else []):
            if not part.shape[1]:
                best[:, column] = NO_CLASS
                continue
            largest = part.max(dim=1)
            best[:, column], score[:, column] = classes[largest.indices].int(), largest.values
            mass[:, column] = part.logsumexp(dim=1)
    return {
        "top_task": task_of[top.indices].int(),
        "top_class": class_of[top.indices].int(),
        "top_probability": top.values,
        "best": best,
        "score": score,
        "mass": mass,
    }


class PredictionLog(PluginMetric[dict]):
    """The predictions of the last evaluation: `rows[stream, task]` holds tensors by name, one row per image, in order.

    They are those of `predictions`, and `label`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], Predictions] = {}
        self._batches: list[Predictions] = []

    def reset(self) -> None:
        """Remove all rows."""
        self.rows.clear()

    def result(self) -> dict[tuple[str, str], Predictions]:
        """Return the rows."""
        return self.rows

    def before_eval_exp(self, strategy: PredictingStrategy) -> None:
        """Start an experience."""
        self._batches = []

    def after_eval_iteration(self, strategy: PredictingStrategy) -> None:
        """Keep the predictions of a batch."""
        experience = strategy.experience
        columns = strategy.classifier.columns(experience.task_label)
        kept = predictions(strategy.mb_output, columns, len(experience.stream_domains))
        self._batches.append({"label": strategy.mb_y.int(), **kept})

    def after_eval_exp(self, strategy: PredictingStrategy) -> None:
        """Move the predictions of an experience to memory."""
        experience, batches = strategy.experience, self._batches
        self.rows[experience.origin_stream.name, experience.domain.name] = {
            name: torch.cat([batch[name] for batch in batches]).cpu() for name in (batches[0] if batches else ())
        }
        self._batches = []
