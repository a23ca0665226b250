"""Failures of a local hub on demand: every Nth request, requests of a path, or a slow line."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

Fault = Literal["busy", "cut"]
FAULTS: tuple[Fault, ...] = ("busy", "cut")
"""busy: the answer is 503. cut: the connection ends in the middle of the answer's body, or of the request's if it has one."""
CHUNK = 2**16


@dataclass
class Faults:
    """The failures that a server makes.

    Attributes:
        every: every Nth request fails; 0: none.
        only: count only requests whose path contains this text.
        kinds: what the failing requests do, in turn.
        bytes_per_second: speed of downloads and uploads per connection; 0: as fast as possible.
        refused: the status of the answer by a part of the path.
    """

    every: int = 0
    only: str = ""
    kinds: tuple[Fault, ...] = FAULTS
    bytes_per_second: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    def next(self, path: str) -> Fault | None:
        """Count a request and return its fault, None for a request that succeeds."""
        if self.only not in path:
            return None
        number = next(self._count)
        if not self.every or number % self.every:
            return None
        return self.kinds[(number // self.every - 1) % len(self.kinds)]

    def status(self, path: str) -> int | None:
        """Return the status of the answer to a path that is refused, or None."""
        return next((status for part, status in self.refused.items() if part in path), None)

    def pieces(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        """Yield `size` bytes of a file at the set speed. A shorter file ends early."""
        step = min(CHUNK, max(1, int(self.bytes_per_second / 10))) if self.bytes_per_second else CHUNK
        start, done = time.monotonic(), 0
        while done < size and (piece := file.read(min(step, size - done))):
            yield piece
            done += len(piece)
            if self.bytes_per_second:
                time.sleep(max(0.0, start + done / self.bytes_per_second - time.monotonic()))
