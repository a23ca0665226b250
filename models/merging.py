"""Merging: pure functions on task vectors (name -> fine-tuned minus initial weights).

Every function takes a list of vectors and returns one vector. A name that a vector lacks counts as zero there. Shapes and
types are those of the weights. A sum over vectors adds them in the order of the list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from models.registry import UserError
from models.weights import State, check_same

Vector = dict[str, Tensor]

# The tower and the number of a block in the names of open_clip's and timm's towers.
BLOCK = re.compile(r"^(.*?)\.(?:resblocks|blocks)\.(\d+)\.")


def task_vector(theta_0: State, theta: State) -> Vector:
    """Return theta - theta_0, of the floating-point tensors that differ (Task Arithmetic, Ilharco et al. 2023, 2212.04089).

    Counters and indices are left out, as in its released code: a merged model keeps theta_0's.

    Raises:
        ValueError: names or shapes differ.
    """
    check_same(theta_0, theta)
    floating = [name for name, tensor in theta.items() if tensor.is_floating_point()]
    return {name: theta[name] - theta_0[name] for name in floating if not torch.equal(theta[name], theta_0[name])}


def add(vectors: Sequence[Mapping[str, Tensor]]) -> Vector:
    """Return sum_i v_i (Task Arithmetic)."""
    return {name: _sum(tensors) for name, tensors in aligned(vectors)}


def weighted(vectors: Sequence[Mapping[str, Tensor]], alphas: Sequence[float]) -> tuple[Vector, float]:
    """Return (d, a) such that a d = sum_i alphas_i v_i.

    If all alphas are equal, a is their value and d the plain sum, so that a d is exactly task arithmetic. Otherwise a = 1.

    Raises:
        ValueError: the number of alphas is not the number of vectors.
    """
    if len(alphas) != len(vectors):
        raise ValueError(f"{len(vectors)} task vectors need as many alphas, got {len(alphas)}")
    if len(set(alphas)) == 1:
        return add(vectors), alphas[0]
    return {n: _sum([alpha * t for alpha, t in zip(alphas, ts, strict=True)]) for n, ts in aligned(vectors)}, 1.0


def place(zero: Tensor, direction: Tensor, alpha: float, out: Tensor | None = None) -> Tensor:
    """Return zero + alpha * direction, of one shape; exactly zero for alpha = 0.

    A product is followed by a sum, each rounded by IEEE rules, so the bits are the same in place or not and on every device.

    Args:
        zero: the start.
        direction: the direction.
        alpha: the step length.
        out: another tensor to write into; None: a new tensor.
    """
    out = torch.empty_like(zero) if out is None else out
    return out.copy_(zero) if alpha == 0 else torch.mul(direction, alpha, out=out).add_(zero)


def place_all(zeros: Sequence[Tensor], directions: Sequence[Tensor], alpha: float, out: Sequence[Tensor]) -> None:
    """Write `place` of each pair of tensors into `out`, with a few calls for all tensors on a GPU. The bits are the same."""
    if not out or not out[0].is_cuda:
        for zero, direction, tensor in zip(zeros, directions, out, strict=True):
            place(zero, direction, alpha, out=tensor)
        return
    if alpha == 0:
        torch._foreach_copy_(list(out), list(zeros))
        return
    torch._foreach_copy_(list(out), torch._foreach_add(torch._foreach_mul(list(directions), alpha), list(zeros)))


def patched(theta_0: State, vectors: Sequence[Mapping[str, Tensor]], alphas: Sequence[float]) -> dict[str, Tensor]:
    """Return theta_0 + sum_i alphas_i v_i, as a copy.

    This is PAINT's (1 - alpha) theta_0 + alpha phi, by way of the vector phi - theta_0. The form is the same for one task and
    for several (Ilharco et al. 2022, 2208.05592). At alpha = 1 it equals phi only up to the rounding of a sum.
    """
    direction, alpha = weighted(vectors, alphas)
    moved = {name: place(theta_0[name], d.to(theta_0[name].device), alpha) for name, d in direction.items()}
    return {name: moved[name] if name in moved else tensor.detach().clone() for name, tensor in theta_0.items()}


def ties(vectors: Sequence[Mapping[str, Tensor]], keep: float = 0.2) -> Vector:
    """Merge by TIES (Yadav et al. 2023, 2306.01708; formula as in its released code, github.com/prateeky2806/ties-merging).

    Trim: each vector keeps its largest values by magnitude, a share `keep` of all of them. Elect: a value's sign is that of
    the sum over vectors; an exact 0 takes the sign that most values have. Merge: the mean of the kept values of that sign.
    """
    trimmed = [_trimmed(vector, keep) for vector in vectors]
    votes = sum(int(torch.sign(_sum(tensors)).sum()) for _, tensors in aligned(trimmed))
    merged = {}
    for name, tensors in aligned(trimmed):
        stack = torch.stack(tensors)
        total = _sum(tensors)
        positive = (total > 0) | ((total == 0) & (votes > 0))
        agreed = torch.where(positive, stack > 0, stack < 0)
        merged[name] = (stack * agreed).sum(dim=0) / agreed.sum(dim=0).clamp(min=1)
    return merged


def dare(vector: Mapping[str, Tensor], drop: float, generator: torch.Generator) -> Vector:
    """Drop and rescale by DARE (Yu et al. 2024, 2311.03099; as in its released code, github.com/yule-BUAA/MergeLM).

    Each value becomes 0 with probability `drop`, otherwise value / (1 - drop). Only the generator, on the CPU, decides which.
    It takes the names in order.
    """
    rescaled = {}
    for name, tensor in vector.items():
        mask = torch.rand(tensor.shape, generator=generator) >= drop
        rescaled[name] = torch.where(mask.to(tensor.device), tensor / (1 - drop), torch.zeros_like(tensor))
    return rescaled


def magmax(vectors: Sequence[Mapping[str, Tensor]]) -> Vector:
    """Merge by MagMax (Marczak et al. 2024, 2407.06322; as in its released code, github.com/danielm1405/magmax).

    Each value comes from the vector in which its magnitude is largest, in a tie from the later vector.
    """
    merged = {}
    for name, tensors in aligned(vectors):
        best = tensors[0]
        for tensor in tensors[1:]:
            best = torch.where(tensor.abs() >= best.abs(), tensor, best)
        merged[name] = best
    return merged


def model_stock(vectors: Sequence[Mapping[str, Tensor]]) -> Vector:
    """Merge each tensor by Model Stock (Jang et al. 2024, 2403.19522; formula as in mergekit's `model_stock.py`).

    t * mean_i v_i with t = N c / (1 + (N - 1) c), where c is the cosine between two vectors, averaged over the N (N - 1) / 2
    pairs. A pair with a zero vector counts as c = 0, and a single vector, which has no angle, is kept whole (our choices).
    """
    count, merged = len(vectors), {}
    for name, tensors in aligned(vectors):
        mean = _sum(tensors) / count
        if count == 1:
            merged[name] = mean
            continue
        flat = torch.stack([tensor.flatten() for tensor in tensors])
        unit = flat / flat.norm(dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        upper = torch.triu_indices(count, count, offset=1)
        cosine = (unit @ unit.T)[upper[0], upper[1]].mean().clamp(-1, 1)
        merged[name] = count * cosine / (1 + (count - 1) * cosine) * mean
    return merged


def opcm(total: Mapping[str, Tensor], vector: Mapping[str, Tensor], share: float) -> Vector:
    """Add a task vector to the sum of the earlier ones, without its part in their subspace.

    OPCM (Tang et al. 2025, 2501.09522): the recursion of its released code (github.com/tanganke/fusion_bench) without its
    scale, which cancels in the projection. `scaled_to` sets the norm.

    Only matrices in numbered blocks are projected (`projected_out`); the query, key and value matrices that a tower stores as
    one are three. All other tensors are added.

    Args:
        total: the result for the earlier tasks; empty for the first task.
        vector: the new task vector.
        share: share of the sum of the singular values, see `projected_out`.
    """
    merged = {}
    for name, (before, new) in aligned([total, vector]):
        if total and BLOCK.match(name) and new.dim() == 2:
            parts = 3 if name.endswith(("in_proj_weight", "qkv.weight")) else 1
            pairs = zip(before.chunk(parts), new.chunk(parts), strict=True)
            new = torch.cat([projected_out(b, n, share) for b, n in pairs])
        merged[name] = before + new
    return merged


def projected_out(before: Tensor, new: Tensor, share: float) -> Tensor:
    """Return `new` [m, n] without its part along the leading singular vectors of `before` [m, n].

    With the singular value decomposition before = U S V^T, the matrix U^T new V loses its diagonal and its first r rows and
    columns where both meet, that is the top-left r x r block. r is the number of leading singular values whose running sum is
    at most `share` of the sum of all (the index in the released code). Nothing is removed if `before` is zero (our choice).
    """
    if not before.any():
        return new
    u, s, vh = torch.linalg.svd(before, full_matrices=False)
    rank = int((s.cumsum(0) <= share * s.sum()).sum())
    along = u.T @ new @ vh.T
    kept = along.clone()
    kept.fill_diagonal_(0)
    kept[:rank, :rank] = 0
    removed: Tensor = u @ (along - kept) @ vh
    return new - removed


def norm(vector: Mapping[str, Tensor]) -> float:
    """Return the Euclidean norm of all values of a vector together."""
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in vector.values()))


def scaled_to(vector: Mapping[str, Tensor], length: float) -> Vector:
    """Return a vector scaled to a norm; a zero vector stays zero."""
    factor = length / (norm(vector) or 1.0)
    return {name: tensor * factor for name, tensor in vector.items()}


def by_depth(vector: Mapping[str, Tensor]) -> Vector:
    """Return each tensor times l / (L - 1), with l from 0 its block's number in a tower of L blocks.

    Tensors outside of the blocks are multiplied by 0. LiNeS (Wang et al. 2024, 2410.17146) scales a vector by
    a + b l / (L - 1), and outside of the blocks by a. That is a * vector + b * by_depth(vector) (as in its released code,
    github.com/wang-kee/LiNeS). L is counted on the names of the vector, tower by tower. A single block counts as the last one.

    Raises:
        UserError: the vector has no blocks (ResNets).
    """
    tower_and_block = {name: (match[1], int(match[2])) for name in vector if (match := BLOCK.match(name))}
    if vector and not tower_and_block:
        raise UserError("The trained parameters of this model are not in numbered blocks, so they cannot be scaled by depth.")
    last: dict[str, int] = {}
    for tower, block in tower_and_block.values():
        last[tower] = max(block, last.get(tower, 0))
    depth = {name: block / last[tower] if last[tower] else 1.0 for name, (tower, block) in tower_and_block.items()}
    return {name: depth.get(name, 0.0) * tensor for name, tensor in vector.items()}


def aligned(vectors: Sequence[Mapping[str, Tensor]]) -> Iterator[tuple[str, list[Tensor]]]:
    """Yield each name with its tensor in every vector, zeros where it is missing, in the order of first appearance."""
    names = dict.fromkeys(name for vector in vectors for name in vector)
    for name in names:
        like = next(vector[name] for vector in vectors if name in vector)
        yield name, [vector[name] if name in vector else torch.zeros_like(like) for vector in vectors]


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors, added in order."""
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        total += tensor
    return total


def _trimmed(vector: Mapping[str, Tensor], keep: float) -> Vector:
    """Return the vector with all but its largest values 0: int(keep n) of n, and those that tie with the smallest of them."""
    values = torch.cat([tensor.abs().flatten() for tensor in vector.values()]) if vector else torch.zeros(0)
    count = int(len(values) * keep)
    if count >= len(values):
        return dict(vector)
    # The released code's threshold is the (n - count)-th smallest value, so one value more than `count` stays.
    threshold = values.kthvalue(len(values) - count).values
    return {name: torch.where(t.abs() >= threshold, t, torch.zeros_like(t)) for name, t in vector.items()}
