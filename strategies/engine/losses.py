"""Cross-entropy by task, and checks of the loss of a step and of the steps so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.padding import PADDING
from models.registry import UserError

CHECK_EVERY = 20


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite. The checkpoint of the last finished experience is not changed."""


class PromptCrossEntropy(torch.nn.CrossEntropyLoss):
    """Smoothed cross-entropy that leaves out padding.

    Logits [B, C] are padded if a batch has images of tasks with different numbers of classes. Avalanche's plugins (AGEM) call
    it on such batches. Smoothing spreads only over the classes of an image's task.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits [B, C] and labels [B], reduced as `reduction` says."""
        padded = logits == PADDING
        if not padded.any():
            return self.unpadded(logits, labels)
        log_p = logits.log_softmax(dim=1)
        hard = log_p.gather(1, labels[:, None]).squeeze(1)
        soft = log_p.masked_fill(padded, 0.0).sum(dim=1) / (~padded).sum(dim=1)
        losses = -((1 - self.label_smoothing) * hard + self.label_smoothing * soft)
        return losses if self.reduction == "none" else losses.sum() if self.reduction == "sum" else losses.mean()

    def unpadded(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of logits without padding, which is not looked for."""
        return super().forward(logits, labels)


def cross_entropy_by_task(
    logits: Tensor,
    labels: Tensor,
    task_labels: Tensor,
    criterion: Callable[[Tensor, Tensor], Tensor],
    classes: Callable[[int], int],
    tasks: Sequence[int],
) -> Tensor:
    """Return `criterion` averaged over the batch, with each task's rows cut to its classes, so that padding is left out.

    Args:
        logits: [B, C], padded.
        labels: [B], classes within the image's task.
        task_labels: [B].
        criterion: mean loss of logits [b, c] and labels [b].
        classes: returns the number of a task's classes.
        tasks: the tasks among `task_labels`.

    Returns:
        A scalar.
    """
    if len(tasks) == 1:
        return criterion(logits[:, : classes(tasks[0])], labels)
    total = logits.new_zeros(())
    for task in tasks:
        rows = task_labels == task
        total = total + criterion(logits[rows, : classes(task)], labels[rows]) * rows.sum()
    return total / len(labels)


def check_finite(losses: Sequence[Tensor], task: str) -> None:
    """Raise NonFiniteLoss if one of the last `CHECK_EVERY` losses is not finite. Waits for the device."""
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


def check_loss(loss: object, method: str) -> Tensor:
    """Return the result of a method's `compute_loss`. Raises UserError unless it is one number with a gradient."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"{method}.compute_loss must return the loss as a tensor of one number, got {got}.")
    if not loss.requires_grad:
        raise UserError(
            f"{method}.compute_loss returned a loss without a gradient, so nothing would train: it was computed under no_grad, "
            "detached or made from numbers."
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


def numbers(history: Sequence[Mapping[str, Any]], losses: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Return the records of updates with their losses, all as numbers. Waits for the device once, whatever they hold.

    Args:
        history: a record per update. Records that `settle` has completed are returned as they are.
        losses: the loss of each update.
    """
    records = [{**record, "loss": record.get("loss", loss)} for record, loss in zip(history, losses, strict=True)]
    places = [(record, name) for record in records for name, value in record.items() if isinstance(value, Tensor)]
    if places:
        device = losses[0].device
        values = torch.stack([record[name].to(device, torch.float64).reshape(()) for record, name in places]).tolist()
        for (record, name), value in zip(places, values, strict=True):
            record[name] = value
    return records


def settle(history: list[dict[str, Any]], losses: Sequence[Tensor]) -> None:
    """Turn the tensors of a history into numbers and add each step's loss. Waits once for all losses."""
    values = torch.stack(list(losses)).tolist() if losses else []
    for record, loss in zip(history, values, strict=True):
        for name, value in record.items():
            record[name] = value.item() if isinstance(value, Tensor) else value
        record["loss"] = loss
