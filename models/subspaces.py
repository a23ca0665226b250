"""Subspaces of a matrix's inputs: those that its weights and its activations use, and low-rank updates outside them.

A matrix W [out, in] maps x to W x. A basis U [in, k] has orthonormal columns. All functions compute in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Factors(NamedTuple):
    """A low-rank matrix B A, with B [out, rank] and A [rank, in]."""

    b: Tensor
    a: Tensor


def principal(weight: Tensor, energy: float) -> Tensor:
    """Return the fewest right singular vectors of a matrix whose squared singular values sum to a share of their total.

    Args:
        weight: W [out, in].
        energy: the share, from 0 (no vector) to 1.

    Returns:
        A basis [in, k], float64.
    """
    _, values, directions = torch.linalg.svd(weight.double(), full_matrices=False)
    basis: Tensor = directions[: _count(values.square(), energy * float(values.square().sum()))].T.contiguous()
    return basis


def extended(basis: Tensor, gram: Tensor, energy: float) -> Tensor:
    """Return a basis with the fewest principal directions of activations added that are outside it.

    The squared lengths of the activations within the new basis sum to at least a share of their total, as in gradient
    projection memory (Saha et al. 2021, 2103.09762).

    Args:
        basis: U [in, k].
        gram: the sum of x x^T over the activations x [in, in].
        energy: the share, from 0 to 1.

    Returns:
        A basis [in, k + added] whose first columns are those of `basis`, float64.
    """
    basis, gram = basis.double(), gram.double()
    outside = torch.eye(len(gram), dtype=torch.float64, device=gram.device) - basis @ basis.T
    missing = energy * float(gram.trace()) - float((basis.T @ gram @ basis).trace())
    values, directions = torch.linalg.eigh(outside @ gram @ outside)
    # Rounding can make an eigenvalue of a direction within the basis positive. There are at most in - k others.
    values, directions = values.flip(0).clamp(min=0)[: len(gram) - basis.shape[1]], directions.flip(1)
    added = outside @ directions[:, : _count(values, missing)]
    return torch.cat([basis, torch.linalg.qr(added).Q], dim=1)


def residual_factors(gradient: Tensor, basis: Tensor, rank: int) -> Factors:
    """Return the best approximation of a rank to the part of a gradient outside a basis: G - G U U^T ~ B A.

    The rows of A are orthonormal and outside the basis. If the residual has a lower rank, the remaining rows of A are zero, so
    that no update B A reaches into the basis.

    Args:
        gradient: G [out, in].
        basis: U [in, k].
        rank: the rank.

    Returns:
        B = left singular vectors times singular values [out, rank], and A = right singular vectors [rank, in], float64.
    """
    gradient, basis = gradient.double(), basis.double()
    residual = gradient - (gradient @ basis) @ basis.T
    left, values, right = torch.linalg.svd(residual, full_matrices=False)
    left, values, right = left[:, :rank], values[:rank], right[:rank]
    right = right - (right @ basis) @ basis.T
    # A vector of a singular value of 0 is arbitrary and may be within the basis.
    norms = right.norm(dim=1, keepdim=True)
    right = torch.where(norms > 0.5, right / norms.clamp(min=0.5), torch.zeros_like(right))
    return Factors(left * values, right - (right @ basis) @ basis.T)


def _count(energies: Tensor, needed: float) -> int:
    """Return how many of the first energies sum to at least `needed`; all if all together do not."""
    if needed <= 0:
        return 0
    reached = torch.cumsum(energies, dim=0) >= needed * (1 - 1e-12)
    return int(reached.int().argmax()) + 1 if bool(reached.any()) else len(energies)
