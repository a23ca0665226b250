"""Run in several processes started by torchrun: the process group, the device of each process, and which process writes.

`torchrun --nproc-per-node 4 cli.py bench mtil ...` gives the numbers of one process except for the rounding of sums
(`models.parallel`). Process 0 writes the record and prints; the other processes read it. torch is imported only when needed.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from models.registry import UserError

if TYPE_CHECKING:
    import torch


def processes() -> int:
    """Return the number of processes that torchrun has started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def leads() -> bool:
    """Return whether this process writes and prints."""
    return processes() == 1 or int(os.environ["RANK"]) == 0


@contextmanager
def group(device: torch.device) -> Iterator[torch.device]:
    """Join the process group, and yield the device of this process: with several GPUs, each process has its own.

    The first run makes the group, which lasts as long as the process. A new group for the next seed would not work, since
    processes look for each other where the last group was. Raises UserError for more processes on a machine than GPUs.
    """
    if processes() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UserError(
                f"torchrun started process {local} on this machine, which has {torch.cuda.device_count()} GPUs: "
                "start one process per GPU."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # The others wait for process 0, which may read a dataset for the first time.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
        atexit.register(dist.destroy_process_group)
    yield device
