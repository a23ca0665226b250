"""How it is learned: one method a file. Names resolve lazily, so that listing them imports neither torch nor Avalanche."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.registry import Registry

if TYPE_CHECKING:
    from strategies.base import Batch as Batch
    from strategies.base import Strategy as Strategy

STRATEGIES = Registry(
    "strategy",
    {
        "zero-shot": "strategies.zero_shot:ZeroShot",
        "finetune": "strategies.base:Strategy",
        "wise-ft": "strategies.wise_ft:WiSEFT",
        "zscl": "strategies.zscl:ZSCL",
    },
)
ABOUT = {
    "zero-shot": "no training; the reference row",
    "finetune": "continual fine-tuning with the papers' protocol",
    "wise-ft": "fine-tuning, then interpolation with the weights before the task (2109.01903)",
    "zscl": "distillation against the initial CLIP on reference data, weight ensemble, L2 (2303.06628)",
}
register = STRATEGIES.register

_LAZY = {"Batch": "strategies.base", "Strategy": "strategies.base"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'strategies' has no attribute {name!r}")
