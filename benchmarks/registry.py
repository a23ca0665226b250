"""The benchmarks by name, and the editions. Imports neither torch nor Avalanche."""

from __future__ import annotations

from models.registry import Registry

BENCHMARKS = Registry(
    "benchmark",
    {
        "mtil": "benchmarks.mtil:stream",
        "cil": "benchmarks.cil:stream",
        "stream": "benchmarks.stream:stream",
    },
)
ABOUT = {
    "mtil": "task-incremental over domains: orders I, II or a list of names; eight domains (mini) or the paper's eleven (full)",
    "cil": "class-incremental: the classes of one dataset in steps (--dataset, --steps)",
    "stream": "any domains in sequence (--tasks A,B,C): built-in names, folders, CSV files, hub datasets",
}
EDITIONS = ("mini", "full", "own")
