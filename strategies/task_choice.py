"""Choose a task for an image by its frozen features: Gaussians and nearest centres.

A method that has a module per task (a prefix, a prompt, a router) asks here which one an image gets. Every function scores each
image separately, so a choice does not depend on the other images of a batch. `majority` is the exception: it reads the task
off a batch whose images belong to one task, as DIKI's released configuration does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

RIDGE = 1e-7
"""Added to the variances of a Gaussian, as in DIKI."""


class Gaussian(NamedTuple):
    """A normal distribution of features: `mean` [d], and `factor` [d, d], the lower Cholesky factor of the covariance."""

    mean: Tensor
    factor: Tensor


class Statistics(nn.Module):
    """Tensors of a task that do not train. As a module of the task they are saved and counted (`Strategy.add_module_for`).

    Args:
        shapes: the shape of each tensor by name. They are zero until they are filled.
    """

    def __init__(self, **shapes: tuple[int, ...]):
        super().__init__()
        for name, sizes in shapes.items():
            self.register_buffer(name, torch.zeros(sizes))

    def fill(self, **tensors: Tensor) -> None:
        """Copy these values into the tensors of the same names."""
        for name, tensor in tensors.items():
            self.get_buffer(name).copy_(tensor)


def gaussian(features: Tensor, ridge: float = RIDGE) -> Gaussian:
    """Return the normal distribution of a task's features.

    The covariance is the mean of (x - mean)(x - mean)^T over the rows, with `ridge` added to its diagonal. The divisor is the
    number of rows (our choice), so a single image has a distribution too.

    Args:
        features: unit features [N, d].
        ridge: the addition to each variance.

    Returns:
        The distribution in float64.

    Raises:
        ValueError: `features` is empty.
    """
    if not len(features):
        raise ValueError("a Gaussian needs at least one image")
    rows = features.double()
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / len(rows)
    covariance.diagonal().add_(ridge)
    return Gaussian(rows.mean(dim=0), torch.linalg.cholesky(covariance))


def log_densities(features: Tensor, tasks: Sequence[Gaussian]) -> Tensor:
    """Return the log-density of each feature under each task's Gaussian, float64 [B, T].

    -(z^T z + d log(2 pi)) / 2 - sum log L_ii, where L is the Cholesky factor and z = L^-1 (x - mean).

    Args:
        features: unit features [B, d].
        tasks: the tasks' Gaussians.
    """
    rows, columns = features.double(), []
    for mean, factor in tasks:
        z = torch.linalg.solve_triangular(factor.double(), (rows - mean).T, upper=False)
        constant = rows.shape[1] * math.log(2 * math.pi) / 2 + factor.double().diagonal().log().sum()
        columns.append(-z.square().sum(dim=0) / 2 - constant)
    return torch.stack(columns, dim=1)


def density_scale(log_density: Tensor, width: int) -> Tensor:
    """Return how much of a task's module an image gets, in 0..1: sigmoid(log-density / d - 1).

    Source: DIKI, where d is the constant 512, the width of ViT-B/16's features. For another width d is that width (our choice).

    Args:
        log_density: log-density of the image under its task's Gaussian [B].
        width: width d of the features.
    """
    return torch.sigmoid(log_density / width - 1)


def majority(choices: Tensor) -> Tensor:
    """Return the most frequent choice of a batch for every image [B]. At a tie it is the task with the smaller number."""
    return choices.bincount().argmax().expand_as(choices)


def k_means(features: Tensor, count: int, seed: int, rounds: int = 100) -> Tensor:
    """Return the centres [k, d] of K-means (Lloyd's algorithm), float64.

    The first centres are rows drawn by seed, each with a probability proportional to its squared distance to the nearest centre
    drawn before (k-means++). A centre without rows stays where it is.

    Args:
        features: rows [N, d].
        count: number of centres; at most the number of different rows.
        seed: seed of the draws.
        rounds: most rounds; it ends earlier when no row changes its centre.

    Raises:
        ValueError: `features` is empty.
    """
    if not len(features):
        raise ValueError("K-means needs at least one image")
    rows, generator = features.double().cpu(), torch.Generator().manual_seed(seed)
    chosen = [rows[int(torch.randint(len(rows), (1,), generator=generator))]]
    while len(chosen) < count:
        distances = torch.cdist(rows, torch.stack(chosen)).amin(dim=1).square()
        if not bool(distances.any()):
            break
        chosen.append(rows[int(torch.multinomial(distances, 1, generator=generator))])
    means, nearest = torch.stack(chosen), torch.full((len(rows),), -1)
    for _ in range(rounds):
        before, nearest = nearest, torch.cdist(rows, means).argmin(dim=1)
        if torch.equal(before, nearest):
            break
        sizes = nearest.bincount(minlength=len(means))
        sums = torch.zeros_like(means).index_add_(0, nearest, rows)
        means = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], means)
    return means.to(features.device)


def nearest_task(features: Tensor, tasks: Sequence[Tensor]) -> Tensor:
    """Return the task [B] that has the centre nearest to each feature (S-Prompts).

    Args:
        features: unit features [B, d].
        tasks: the tasks' centres [k, d].
    """
    distances = [torch.cdist(features.double(), task.double()).amin(dim=1) for task in tasks]
    return torch.stack(distances, dim=1).argmin(dim=1)


Fitted = TypeVar("Fitted")


def held_out_scores(
    features: Tensor, fit: Callable[[Tensor], Fitted], score: Callable[[Tensor, Fitted], Tensor], folds: int = 5
) -> Tensor:
    """Return the score of each image of a task, by statistics of the task's other images [N].

    Images i with the same i modulo `folds` are scored together, by what is fitted on all others. Statistics of few images fit
    these images better than new ones, so their own scores would be a limit that new images of the task hardly reach.

    Args:
        features: features [N, d]; at least one row.
        fit: returns statistics of rows.
        score: returns the scores of rows under statistics.
        folds: number of parts; at most N. A single image is scored by its own statistics.
    """
    if len(features) < 2:
        return score(features, fit(features))
    parts = min(folds, len(features))
    part = torch.arange(len(features), device=features.device) % parts
    scores = [score(features[part == each], fit(features[part != each])) for each in range(parts)]
    return torch.cat(scores)[part.argsort(stable=True).argsort()]
