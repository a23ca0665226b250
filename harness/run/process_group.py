"""One run in several processes, started by torchrun: the group, each process's device, and who writes.

`torchrun --nproc-per-node 4 cli.py bench mtil ...` gives what one process gives, but for the rounding of sums: see
`models.parallel`. Process 0 writes the record and speaks; the others read what is there. Imports torch late.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from models.registry import UserError


def processes() -> int:
    """How many processes torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def leads() -> bool:
    """Whether this process writes and speaks."""
    return processes() == 1 or int(os.environ["RANK"]) == 0


@contextmanager
def group(device: Any) -> Iterator[Any]:
    """A run in the process group; gives the device of this process: of several GPUs its own.

    The group is made by the first run and lasts as long as the process: made anew for the next seed, processes look for each
    other where the last group was. Raises UserError for more processes on a machine than GPUs.
    """
    if processes() == 1:
        yield device
        return
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise UserError(f"torchrun started process {local} on this machine, which has {torch.cuda.device_count()} GPUs.")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # The others may wait long for process 0: when it reads a dataset for the first time.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
        atexit.register(dist.destroy_process_group)
    yield device
