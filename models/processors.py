"""Number of processors."""

from __future__ import annotations

import os


def processors() -> int:
    """Return the processors that this process may use. A container or a cluster job often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
