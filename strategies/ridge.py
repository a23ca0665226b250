"""Ridge regression of one-hot labels that grows with the tasks: pure functions on tensors.

All sums are float64. With inputs X [N, D] and one-hot labels Y [N, C] of all tasks, the weights are

    W = (X^T X + ridge I)^-1 X^T Y

X^T X and X^T Y are sums over images, so adding the tasks in any order gives the weights of one regression on all images.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 4096
"""Rows that are converted to float64 at a time."""
CANDIDATES = tuple(10.0**power for power in range(-8, 9))
"""Candidates of `best_ridge`, as in RanPAC."""


class Sums(NamedTuple):
    """X^T X [D, D] and X^T Y [D, C] in float64."""

    gram: Tensor
    cross: Tensor


def random_features(features: Tensor, projection: Tensor | None) -> Tensor:
    """Return relu(features @ projection) [N, D], or the features [N, d] without a projection [d, D]."""
    return features if projection is None else torch.relu(features @ projection)


def sums(inputs: Tensor, labels: Tensor, classes: int) -> Sums:
    """Return the sums of one task.

    Args:
        inputs: inputs X [N, D].
        labels: labels [N] in 0..classes-1.
        classes: number of classes C.
    """
    width = inputs.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64, device=inputs.device)
    cross = gram.new_zeros(width, classes)
    for rows, part in zip(torch.split(inputs, ROWS), torch.split(labels, ROWS), strict=True):
        exact = rows.double()
        gram += exact.T @ exact
        cross += exact.T @ F.one_hot(part, classes).double()
    return Sums(gram, cross)


def joined(before: Sums | None, task: Sums) -> Sums:
    """Return the sums of the tasks before and a task with new classes, whose columns come last."""
    return task if before is None else Sums(before.gram + task.gram, torch.cat([before.cross, task.cross], dim=1))


def solve(known: Sums, ridge: float) -> Tensor:
    """Return the weights W [D, C] in float64."""
    regular = known.gram + ridge * torch.eye(len(known.gram), dtype=known.gram.dtype, device=known.gram.device)
    return torch.cholesky_solve(known.cross, torch.linalg.cholesky(regular))


def best_ridge(inputs: Tensor, labels: Tensor, classes: int, order: Tensor) -> float:
    """Return the candidate with the smallest squared error on a fifth of a task's images, when trained on the others.

    Args:
        inputs: inputs [N, D].
        labels: labels [N].
        classes: number of classes.
        order: a permutation of the N images. The last fifth is the one that is left out.
    """
    cut = int(0.8 * len(order))
    trained, left = order[:cut], order[cut:]
    if not len(left) or not len(trained):
        return 1.0
    known, targets = sums(inputs[trained], labels[trained], classes), F.one_hot(labels[left], classes).double()
    errors = [float((inputs[left].double() @ _solved(known, ridge) - targets).square().mean()) for ridge in CANDIDATES]
    return CANDIDATES[errors.index(min(errors))]


def _solved(known: Sums, ridge: float) -> Tensor:
    """Return `solve`, or zeros where the smallest candidates leave the matrix singular to rounding."""
    try:
        return solve(known, ridge)
    except RuntimeError:
        return torch.full_like(known.cross, torch.inf)


def gaussian_kernel(one: Tensor, other: Tensor, gamma: float) -> Tensor:
    """Return exp(-gamma |x - y|^2) [N, M] for rows x [N, d] and y [M, d]."""
    squares = one.square().sum(dim=1)[:, None] + other.square().sum(dim=1) - 2 * one @ other.T
    return torch.exp(-gamma * squares.clamp(min=0))


def kernel_weights(features: Tensor, labels: Tensor, classes: int, gamma: float, ridge: float) -> Tensor:
    """Return (K + ridge I)^-1 Y [N, C] in float64, where K is the Gaussian kernel of the features [N, d] with themselves."""
    kernel = gaussian_kernel(features.double(), features.double(), gamma)
    kernel.diagonal().add_(ridge)
    return torch.cholesky_solve(F.one_hot(labels, classes).double(), torch.linalg.cholesky(kernel))
