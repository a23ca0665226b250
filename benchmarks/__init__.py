"""Benchmarks: domains (images, class names, templates, splits) and the streams made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plan import PROTOCOLS as PROTOCOLS
from benchmarks.registry import ABOUT as ABOUT
from benchmarks.registry import BENCHMARKS as BENCHMARKS
from benchmarks.registry import EDITIONS as EDITIONS
from models.registry import lazy

if TYPE_CHECKING:
    from benchmarks.data.dataset import TensorImages as TensorImages
    from benchmarks.data.domain import Domain as Domain
    from benchmarks.scenario import make as make

__getattr__ = lazy(
    __name__,
    {
        "Domain": "benchmarks.data.domain",
        "TensorImages": "benchmarks.data.dataset",
        "make": "benchmarks.scenario",
    },
)
