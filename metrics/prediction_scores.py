"""Score the predictions of one row of the accuracy matrix under another protocol, from the best class of each task.

For each image and task the best class of the task, its score and the log-sum-exp of the task's scores are known. The best of
these classes is the answer among any choice of tasks, and its probability among their classes follows from the sums. So a row
that was evaluated among the classes of all tasks can be scored under every protocol.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PROTOCOLS = ("task", "class", "agnostic")
"""Protocols from the smallest to the largest choice of classes. A row can be scored under its own and those before it."""
NOT_SAVED = -1
"""Best class of a task that did not compete."""


class TaskScores(NamedTuple):
    """The best class of each task for N test images of T tasks. A task without competing classes has the score -inf.

    Attributes:
        own: the task of each image [N], from 1.
        label: its class [N], from 0, in that task.
        best: best class of each task [N, T]; `NOT_SAVED` for a task that did not compete.
        score: its score [N, T].
        mass: log of the sum of exp(score) over the classes of each task [N, T].
    """

    own: NDArray[np.int64]
    label: NDArray[np.int64]
    best: NDArray[np.int64]
    score: NDArray[np.float64]
    mass: NDArray[np.float64]


class Answers(NamedTuple):
    """Correctness of the answers [N], and their probabilities among the classes that compete [N]."""

    correct: NDArray[np.bool_]
    confidence: NDArray[np.float64]


def competing(own: NDArray[np.int64], tasks: int, protocol: str, after: int) -> NDArray[np.bool_]:
    """Return which tasks compete for each image [N, T].

    Args:
        own: the task of each image [N], from 1.
        tasks: number of tasks.
        protocol: "task": the own task. "class": the tasks up to the later one of the own task and the last trained one.
            "agnostic": all tasks.
        after: number of trained tasks.
    """
    numbers, own_number = np.arange(1, tasks + 1), own[:, None]
    if protocol == "task":
        return np.asarray(numbers == own_number)
    return numbers <= (np.full_like(own_number, tasks) if protocol == "agnostic" else np.maximum(own_number, after))


def answers(scores: TaskScores, allowed: NDArray[np.bool_]) -> Answers:
    """Return the answers among the classes of the allowed tasks. The own task wins ties, as in an evaluation.

    Args:
        scores: the scores of the images.
        allowed: which tasks compete for each image [N, T].

    Raises:
        ValueError: an allowed task was not among the tasks that competed when the scores were saved.
    """
    if (scores.best[allowed] == NOT_SAVED).any():
        raise ValueError("the scores of some competing tasks were not saved")
    rows, own = np.arange(len(scores.own)), scores.own - 1
    score, mass = (np.where(allowed, values, -np.inf) for values in (scores.score, scores.mass))
    top = score.max(axis=1)
    correct = (score[rows, own] == top) & (scores.best[rows, own] == scores.label)
    return Answers(correct, np.exp(top - np.logaddexp.reduce(mass, axis=1)))


def confidence_among(scores: TaskScores, tasks: int) -> NDArray[np.float64]:
    """Return the probability of the best class of the first `tasks` tasks, among their classes [N]; NaN where not saved."""
    with np.errstate(invalid="ignore"):
        confidence = np.exp(scores.score[:, :tasks].max(axis=1) - np.logaddexp.reduce(scores.mass[:, :tasks], axis=1))
    return np.where((scores.best[:, :tasks] == NOT_SAVED).any(axis=1), np.nan, confidence)
