"""What a run was made on: device, versions, revision, memory."""

from __future__ import annotations

import platform
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from models.registry import UserError

VERSIONS = ("torch", "torchvision", "avalanche-lib", "open_clip_torch", "numpy")


def describe(device: torch.device) -> dict[str, Any]:
    """The machine's part of `run.json`."""
    return {
        "device": _device_name(device),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in VERSIONS},
        "git_revision": _git_revision(),
    }


def device_of(name: str) -> torch.device:
    """The torch device of a --device flag. Raises UserError for one that does not exist or is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device here: leave out --device, or use --device cpu.")
    return device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu: {platform.processor() or platform.machine()}"


def peak_memory_mb() -> float:
    """Peak of the process in MB; on a GPU the peak of what torch allocated there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return round(peak / (1e6 if platform.system() == "Darwin" else 1e3), 1)


def _git_revision() -> str | None:
    root = Path(__file__).parent.parent
    try:
        found = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
