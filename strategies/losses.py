"""Losses of a step, and of the steps so far: cross-entropy by task, and what has become NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

CHECK_EVERY = 20


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite. The last finished experience's state is untouched on disk."""


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


def settle(history: list[dict[str, Any]], losses: Sequence[Tensor]) -> None:
    """Turn the tensors of a history into numbers, and add each step's loss. Synchronises once for all losses."""
    values = torch.stack(list(losses)).tolist() if losses else []
    for record, loss in zip(history, values, strict=True):
        for name, value in record.items():
            record[name] = value.item() if isinstance(value, Tensor) else value
        record["loss"] = loss
