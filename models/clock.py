"""The time at which a device has done its work."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Return `time.perf_counter()` after a GPU has done all that it was told to do. A CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
