"""The ledger of a counted run: images and texts that pass the towers, images that are read, and seconds, by phase."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Phase = Literal["preparation", "measures", "around", "updates", "evaluation", "timing"]
"""Before the run; measures of a task; before the first and after the last update of a task; updates; rows of the matrix; the
time per test image after the last task, for which an image stands only for itself."""
TRAINED_IMAGES, IMAGES = "images with gradient", "images"
TRAINED_TEXTS, TEXTS = "texts with gradient", "texts"


class Ledger:
    """Counts by (phase, kind). A count may stand for several: an update for all alike, a test image for its whole split.

    Attributes:
        counts: amounts by (phase, kind). Kinds are the four constants of this module and "read SPLIT".
        rows: rows of towers by kind that really were asked for, also while nothing is counted.
        seconds: time by phase, without the time in towers.
        times: the factor of everything that is added, for an update that stands for several.
        full: towers compute every row, for measurements. Otherwise they compute one (`harness.plan.towers`).
    """

    def __init__(self) -> None:
        self.counts = defaultdict[tuple[str, str], float](float)
        self.rows = defaultdict[str, int](int)
        self.seconds = defaultdict[str, float](float)
        self.times = 1.0
        self.full = False
        self._phase: Phase = "preparation"
        self._clock = time.perf_counter()
        self._weight, self._read, self._closed = 0.0, 0, True

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    def enter(self, phase: Phase, times: float = 1.0) -> None:
        """Begin a phase, in which every count is multiplied by `times`."""
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._clock
        self._clock, self._phase, self.times = now, phase, times
        self._closed = True
        self._weight, self._read = 0.0, 0

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Be in a phase within the block."""
        before, times = self._phase, self.times
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before, times)

    @contextmanager
    def uncounted(self, full: bool = True) -> Iterator[None]:
        """Within the block nothing is counted and its time belongs to no phase; with `full` the towers compute every row."""
        times, before = self.times, self.full
        self.enter(self._phase, 0.0)
        self.full = full
        try:
            yield
        finally:
            self.full, self.times, self._clock = before, times, time.perf_counter()

    @contextmanager
    def in_tower(self) -> Iterator[None]:
        """Leave the time of the block out of the current phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._clock += time.perf_counter() - began

    def read(self, split: str, weight: float = 1.0) -> None:
        """Count an image that is read and stands for `weight` images of its split."""
        weight = 1.0 if self._phase == "timing" else weight
        if self._closed:
            self._weight, self._read, self._closed = 0.0, 0, False
        self._weight, self._read = self._weight + weight, self._read + 1
        self.counts[self._phase, f"read {split}"] += weight * self.times

    def encoded(self, kind: str, rows: int) -> None:
        """Count rows of a tower. An image stands for as many as the images that were read last, on average."""
        self.rows[kind] += rows
        mean = self._weight / self._read if self._read and kind in (IMAGES, TRAINED_IMAGES) else 1.0
        self._closed = True
        self.counts[self._phase, kind] += rows * mean * self.times

    def total(self, kind: str, *phases: str) -> int:
        """Return the amount of a kind in some phases, or in all."""
        return round(sum(n for (phase, each), n in self.counts.items() if each == kind and (not phases or phase in phases)))
