"""Predictions of methods that override `predict`: candidates in one order, and the truth about test images withheld."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from models.candidates import Candidates
from models.classifier import PromptClassifier
from models.padding import PADDING, among_candidates
from models.registry import UserError
from strategies.engine.frozen_features import KeptFeatures
from strategies.engine.method_checks import is_built_in

TRUTH: dict[str, Any] = {
    "experience": None,
    "adapted_dataset": None,
    "dataloader": None,
    "current_eval_stream": [],
    "_eval_streams": None,
    "_tasks_of_batch": (None, []),
    "mb_output": None,
    # Their counters tell which test set is evaluated.
    "plugins": [],
    "evaluator": None,
}
"""Attributes of a strategy that tell the task or the labels of test images, and their values while these are withheld."""


class WithheldBatch:
    """A batch whose images can be read and whose labels and tasks cannot."""

    def __init__(self, images: Tensor):
        self.images = images

    def __getitem__(self, index: int) -> Tensor:
        if index == 0:
            return self.images
        raise UserError(
            "The labels and tasks of test images are withheld while a method predicts. Use the features and the candidates "
            "that predict(features, candidates) gets."
        )

    def __len__(self) -> int:
        return 3


@contextmanager
def withheld(strategy: Any) -> Iterator[None]:
    """Withhold labels and tasks of the test batch within the block: `mb_y`, `mb_task_id`, `experience` and the like."""
    attributes, classifier = vars(strategy), strategy.classifier
    before = {name: attributes[name] for name in (*TRUTH, "mbatch") if name in attributes}
    rivals = classifier.rivals
    attributes.update({name: TRUTH[name] for name in before if name != "mbatch"}, mbatch=WithheldBatch(strategy.mb_x))
    classifier.rivals = {}
    try:
        yield
    finally:
        attributes.update(before)
        classifier.rivals = rivals


def predictions(strategy: Any) -> Tensor:
    """Return the logits of the test batch from a method's `test_features` and `predict`.

    `predict` is called once for each set of competing classes in the batch, with the features of all its images. Under the
    protocol "agnostic" all images of the stream have one set.

    Returns:
        Logits [B, C] in the order of `PromptClassifier.head` for the task of each image, with `PADDING` for missing classes.
    """
    classifier: PromptClassifier = strategy.classifier
    labels, task_labels = strategy.mb_y, strategy.mb_task_id
    sets: dict[tuple[int, ...], list[int]] = {}
    for task in strategy.tasks_of(task_labels):
        sets.setdefault(classifier.competing(task), []).append(task)
    candidates = {tasks: classifier.candidates(tasks) for tasks in sets}
    with withheld(strategy):
        features: Tensor = strategy.test_features()
        # The features kept from earlier passes are stored with their experiences.
        kept, plain = strategy._kept_features, strategy._kept_plain
        strategy._kept_features, strategy._kept_plain = KeptFeatures(), KeptFeatures()
        try:
            scores = {tasks: _scores(strategy, features, candidates[tasks]) for tasks in sets}
        finally:
            strategy._kept_features, strategy._kept_plain = kept, plain
    arranged = {
        task: _options(classifier, task, classifier.arrange(scores[tasks], task, candidates[tasks]), labels)
        for tasks, members in sets.items()
        for task in members
    }
    if len(arranged) == 1:
        return next(iter(arranged.values()))
    logits: Tensor = features.new_full((len(features), max(part.shape[1] for part in arranged.values())), PADDING)
    for task, part in arranged.items():
        rows = task_labels == task
        logits[rows, : part.shape[1]] = part[rows].to(logits)
    return logits


def _scores(strategy: Any, features: Tensor, candidates: Candidates) -> Tensor:
    """Return the scores of a method's `predict`. Raises UserError for scores of another shape."""
    scores: object = strategy.predict(features, candidates)
    wanted = (len(features), len(candidates))
    if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
        got = f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(
            f"{type(strategy).__name__}.predict must return a tensor of shape {wanted}, one score per image and candidate, "
            f"got {got}."
        )
    return scores


def _options(classifier: PromptClassifier, task: int, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logits among the options of each image's question, for a task with questions (`Domain.groups`)."""
    groups = classifier.groups(task)
    if groups is None:
        return logits
    # Labels of other tasks' rows, which are not used, may be out of range.
    return among_candidates(logits, groups, groups[labels.clamp(max=len(groups) - 1)])


def check_prediction(method: type, protocol: str) -> None:
    """Check that a user's method cannot read the task of a test image under a protocol that withholds it.

    Raises:
        UserError: under another protocol than "task", for a user's class that overrides `forward` or `class_logits` and not
            `predict`.
    """
    if protocol == "task":
        return
    for kind in method.__mro__:
        if is_built_in(kind) or "predict" in vars(kind):
            return
        for name in ("forward", "class_logits"):
            if name in vars(kind):
                raise UserError(
                    f"{kind.__name__} overrides {name}, which can read the task of a test image. Under --protocol {protocol} "
                    "the task is unknown: override predict(features, candidates), or use --protocol task."
                )
