"""Losses of a step, and of the steps so far: cross-entropy by task, and what has become NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.classifier import PADDING
from models.registry import UserError

CHECK_EVERY = 20


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite. The last finished experience's state is untouched on disk."""


class PromptCrossEntropy(torch.nn.CrossEntropyLoss):
    """Smoothed cross-entropy that leaves out the padding of batches whose images belong to tasks of different sizes.

    Avalanche's plugins call it on such batches (AGEM). Smoothing spreads over the classes of an image's own task only.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        padded = logits == PADDING
        if not padded.any():
            return self.unpadded(logits, labels)
        log_p = logits.log_softmax(dim=1)
        hard = log_p.gather(1, labels[:, None]).squeeze(1)
        soft = log_p.masked_fill(padded, 0.0).sum(dim=1) / (~padded).sum(dim=1)
        losses = -((1 - self.label_smoothing) * hard + self.label_smoothing * soft)
        return losses if self.reduction == "none" else losses.sum() if self.reduction == "sum" else losses.mean()

    def unpadded(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits that are known to have no padding, without looking for it."""
        return super().forward(logits, labels)


def cross_entropy_by_task(
    logits: Tensor,
    labels: Tensor,
    task_labels: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    classes: Any,
    tasks: Sequence[int],
) -> Tensor:
    """`criterion` averaged over the batch, where padding takes no part: each task's rows are cut to its classes.

    logits [B, C], labels [B], task labels [B]; `classes(task)` is the number of a task's classes, `tasks` are those of the
    batch. A scalar.
    """
    if len(tasks) == 1:
        return criterion(logits[:, : classes(tasks[0])], labels)
    total = logits.new_zeros(())
    for task in tasks:
        mine = task_labels == task
        total = total + criterion(logits[mine, : classes(task)], labels[mine]) * mine.sum()
    return total / len(labels)


def check_finite(losses: Sequence[Tensor], task: str) -> None:
    """Raise NonFiniteLoss, naming task and iteration, when one of the last `CHECK_EVERY` losses is not finite; synchronises."""
    if not losses:
        return
    recent = torch.stack(list(losses[-CHECK_EVERY:]))
    finite = torch.isfinite(recent)
    if not finite.all():
        step = len(losses) - len(recent) + int((~finite).nonzero()[0]) + 1
        raise NonFiniteLoss(
            f"The loss of {task!r} became {float(recent[~finite][0])} at iteration {step}; "
            "a smaller lr usually helps (--set lr=...)."
        )


def checked(strategy: Any, loss: Any) -> Tensor:
    """The loss that a strategy's `compute_loss` returned. Raises UserError unless it is one number with a gradient."""
    name = f"{type(strategy).__name__}.compute_loss"
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"{name} must return the loss as a tensor of one number, got {what}.")
    if not loss.requires_grad:
        raise UserError(
            f"{name} returned a loss without a gradient, so nothing would train: it was computed under no_grad, detached or "
            "made from numbers."
        )
    return loss


@contextmanager
def overflow(task: str, step: int) -> Iterator[None]:
    """Raise NonFiniteLoss for an optimiser whose numbers leave the range of float32."""
    try:
        yield
    except (OverflowError, RuntimeError) as error:
        if not isinstance(error, OverflowError) and "without overflow" not in str(error):
            raise
        raise NonFiniteLoss(
            f"The update of {task!r} overflowed at iteration {step + 1}; a smaller lr usually helps (--set lr=...)."
        ) from error


def settle(history: list[dict[str, Any]], losses: Sequence[Tensor]) -> None:
    """Turn the tensors of a history into numbers, and add each step's loss. Synchronises once for all losses."""
    values = torch.stack(list(losses)).tolist() if losses else []
    for record, loss in zip(history, values, strict=True):
        for name, value in record.items():
            record[name] = value.item() if isinstance(value, Tensor) else value
        record["loss"] = loss
