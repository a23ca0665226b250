"""Several processes that train one model: they share the rows of every pass through a tower, and agree on everything else.

Each process has the whole batch and the whole model. Of a pass it computes its share of the rows; the features of all are
gathered, so that similarities, losses and everything after are computed of the whole batch in every process, as one process
would (a loss over the batch, ZSCL's over its images, needs all of it). Backwards each has the gradient of its own rows; the
mean over processes of that, times their number, is the gradient of the whole, and what every process computed whole is its own
mean. Weights start alike and get the same updates, so they stay alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Pass = Callable[[Tensor], Tensor]


def size() -> int:
    """How many processes there are; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 without a process group."""
    return dist.get_rank() if size() > 1 else 0


def split_rows(run: Pass, given: Tensor) -> Tensor:
    """`run(given)`, of which each process computes its rows; few rows are computed by each."""
    processes = size()
    if processes == 1 or len(given) < processes:
        return run(given)
    shares = [len(part) for part in given.tensor_split(processes)]
    own = run(given.tensor_split(processes)[rank()])
    return _Gathered.apply(own, shares)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over processes; nothing with one process."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= size()
        parts = flat.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


def maximum(value: int) -> int:
    """The largest of what the processes give; waits for all of them."""
    if size() == 1:
        return value
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    found = torch.tensor(value, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


class _Gathered(torch.autograd.Function):
    """The rows of all processes, in order."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, shares: list[int]) -> Tensor:
        ctx.shares = shares
        # Gathering takes shares of one size.
        most = max(shares)
        padded = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in shares]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        [gradient] = gradients
        return gradient.split(ctx.shares)[rank()] * size(), None
