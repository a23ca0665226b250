"""Several processes that train one model: they share the rows of every pass through a tower and agree on everything else.

Each process has the whole batch and the whole model. It computes its share of the rows of a pass. The features of all rows
are gathered, so similarities, losses and everything after them are computed from the whole batch in every process, as in a
single process. A loss over the batch, such as ZSCL's over its images, needs all rows. In the backward pass each process has
the gradient of its rows. The mean of that over processes, times their number, is the gradient of the whole. Quantities that
every process computes completely are equal to their mean. Weights start equal and get the same updates, so they stay equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Pass = Callable[[Tensor], Tensor]


def size() -> int:
    """Return the number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process; 0 without a process group."""
    return dist.get_rank() if size() > 1 else 0


def split_rows(run: Pass, inputs: Tensor) -> Tensor:
    """Return `run(inputs)`, with the rows divided among the processes.

    If there are fewer rows than processes, each process computes all of them.
    """
    processes = size()
    if processes == 1 or len(inputs) < processes:
        return run(inputs)
    shares = inputs.tensor_split(processes)
    gathered: Tensor = _Gathered.apply(run(shares[rank()]), [len(share) for share in shares])
    return gathered


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over processes. Has no effect with one process."""
    if size() == 1:
        return
    average([p.grad for p in parameters if p.grad is not None])


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over processes, in place. Has no effect with one process."""
    if size() == 1 or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= size()
    means = torch.split(flat, [t.numel() for t in tensors])
    torch._foreach_copy_(list(tensors), [mean.view_as(t) for mean, t in zip(means, tensors, strict=True)])


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over processes. Has no effect with one process."""
    for tensor in tensors if size() > 1 else ():
        dist.all_reduce(tensor)


def maximum(value: int) -> int:
    """Return the largest value of all processes. Waits for all of them."""
    if size() == 1:
        return value
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    largest = torch.tensor(value, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


class _Gathered(torch.autograd.Function):
    """Gather the rows of all processes, in order."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, sizes: list[int]) -> Tensor:
        """Gather rows: [share of this process, ...] -> [all rows, ...]."""
        ctx.sizes = sizes
        # Gathering needs shares of equal size.
        largest = max(sizes)
        padded = torch.cat([features, features.new_zeros(largest - len(features), *features.shape[1:])]).contiguous()
        shares = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(shares, padded)
        return torch.cat([share[:n] for share, n in zip(shares, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return this process's rows of the gradient, times the number of processes."""
        [gradient] = gradients
        return torch.split(gradient, ctx.sizes)[rank()] * size(), None
