"""The machine of a run: device, precision, versions, revision, memory."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

from harness.config.run_config import RunConfig
from harness.config.settings import check_device
from harness.run.process_group import processes
from harness.run.version import git_revision
from models.compiled import compile_blocks
from models.encoder import DualEncoder
from models.graphs import TowerGraphs
from models.registry import UserError

VERSIONS = ("torch", "torchvision", "avalanche-lib", "open_clip_torch", "numpy")


def describe(device: torch.device) -> dict[str, Any]:
    """Return what `run.json` records of the machine."""
    return {
        "device": _device_name(device),
        "processes": processes(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in VERSIONS},
        "git_revision": git_revision(),
    }


def device_of(name: str) -> torch.device:
    """Return the torch device of --device. Raises UserError for a device that does not exist on this machine."""
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device, count = torch.device(name), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"There is no device {name}: this machine has {count} CUDA devices. Leave out --device, or use cpu.")
    return device


def set_precision(precision: str, device: torch.device) -> None:
    """Set the precision of float32 matrix products and convolutions (`harness.config.run_config.PRECISIONS`).

    Raises UserError for a precision that the device does not support.
    """
    on_gpu = device.type == "cuda"
    if precision == "tf32" and not (on_gpu and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise UserError("--precision tf32 needs an NVIDIA GPU, Ampere or later. Use fp32 or bf16 on this device.")
    if precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
        raise UserError(f"{torch.cuda.get_device_name(device)} does not support bf16. Use --precision fp32.")
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # By default torch lets convolutions use tf32.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def check_compile(config: RunConfig, device: torch.device) -> None:
    """Raise UserError for a value of --compile that this device or another setting does not allow."""
    if config.compile not in ("graphs", "both"):
        return
    if device.type != "cuda":
        raise UserError(f"--compile {config.compile} needs an NVIDIA GPU. On {device.type} use --compile blocks or off.")
    if config.microbatch is not None:
        raise UserError(
            f"--compile {config.compile} cannot be combined with --microbatch, which runs every forward pass a second time. "
            "Use --compile blocks, or leave out --microbatch."
        )


def set_compile(config: RunConfig, encoder: DualEncoder, device: torch.device) -> None:
    """Compile an encoder's towers as --compile says (`harness.config.run_config.COMPILE`). Its tuning must be in place."""
    mode = config.compile
    if mode == "auto":
        mode = "graphs" if device.type == "cuda" and config.microbatch is None and processes() == 1 else "off"
    if mode in ("blocks", "both"):
        compile_blocks(encoder)
    if mode in ("graphs", "both"):
        encoder.graphs = TowerGraphs()


def peak_memory_mb() -> float | None:
    """Return the peak memory of the process in MB; on a GPU the peak that torch allocated there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return round(peak / (1e6 if platform.system() == "Darwin" else 1e3), 1)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu: {platform.processor() or platform.machine()}"
