"""What is learned: domains (images, class names, templates, splits) and the streams made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.registry import Registry

if TYPE_CHECKING:
    from benchmarks.domain import Domain as Domain
    from benchmarks.domain import TensorImages as TensorImages
    from benchmarks.streams import make as make

BENCHMARKS = Registry(
    "benchmark",
    {
        "mtil": "benchmarks.mtil:stream",
    },
)
EDITIONS = ("mini", "full")
PROTOCOLS = ("task", "class", "agnostic")

_LAZY = {"Domain": "benchmarks.domain", "TensorImages": "benchmarks.domain", "make": "benchmarks.streams"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'benchmarks' has no attribute {name!r}")
