"""What is learned: domains (images, class names, templates, splits) and the streams made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plan import PROTOCOLS as PROTOCOLS
from models.registry import Registry, lazy

if TYPE_CHECKING:
    from benchmarks.data.dataset import TensorImages as TensorImages
    from benchmarks.data.domain import Domain as Domain
    from benchmarks.scenario import make as make

BENCHMARKS = Registry(
    "benchmark",
    {
        "mtil": "benchmarks.mtil:stream",
        "cil": "benchmarks.cil:stream",
        "stream": "benchmarks.stream:stream",
    },
)
ABOUT = {
    "mtil": "task-incremental over domains; orders I, II or a list; the mini edition's eight or the paper's eleven",
    "cil": "class-incremental: the classes of one dataset in steps (--dataset, --steps)",
    "stream": "any domains, one after the other (--tasks A,B,C): built-in names, folders, CSV files, hub datasets",
}
EDITIONS = ("mini", "full", "own")

__getattr__ = lazy(
    __name__,
    {
        "Domain": "benchmarks.data.domain",
        "TensorImages": "benchmarks.data.dataset",
        "make": "benchmarks.scenario",
    },
)
