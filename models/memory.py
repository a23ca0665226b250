"""Memory allocation of the process."""

from __future__ import annotations

import ctypes
import functools
import sys
from contextlib import suppress

# glibc's names for mallopt's parameters (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Older versions of glibc accept at most 32 MiB.
THRESHOLDS = (2**30, 2**25)


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step. Has no effect if the C library is not glibc.

    By default glibc returns every freed block above a few dozen megabytes to the system, and the system clears each page before
    it hands it out again. A training step on a CPU frees and takes gigabytes of activations, and this takes a fifth of its time
    (`tests/speed/memory.py`). No number changes. The process keeps its peak memory until it ends.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        # In this order, because the first call ends glibc's automatic adjustment of both.
        any(mallopt(M_MMAP_THRESHOLD, threshold) for threshold in THRESHOLDS)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
