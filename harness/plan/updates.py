"""The updates of a task, of which one of each kind is made: batches of the same size and tasks cost the same."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from avalanche.core import SupervisedPlugin
from torch.utils.data import ConcatDataset

from harness.plan.activations import SavedTensors
from harness.plan.ledger import Ledger
from harness.run.costs import tensor_bytes
from models.clock import now

if TYPE_CHECKING:
    from strategies.engine.strategy import Strategy

Kind = tuple[int, tuple[int, ...]]
"""The number of images of a batch, and the parts of a joint training set that they belong to."""
LEAST_STEPS, MOST_STEPS, SECONDS = 3, 12, 1.5
"""Updates of a task that are timed at the least and at the most, and the time after which no further one begins."""
SLOW = 5.0
"""Seconds of an update after which one is enough."""


class Timed(NamedTuple):
    """Work and time of one update: images and texts by kind, and seconds."""

    counts: dict[str, float]
    seconds: float


class Updates(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]  # a keyword of Avalanche
    """Replaces the batches of each task by one of each kind, then by a few whole ones that are timed.

    Args:
        ledger: gets the counts of an update, times the number of updates of its kind.
        timed: tasks of which updates are timed.
        widest: the task in which activations are summed.

    Attributes:
        updates: updates by task.
        images: training images by task.
        steps: the timed updates.
        kinds: counts of one update and number of such updates, over all tasks.
        activations: bytes of the activations of an update; 0 without updates.
        snapshot_bytes: bytes of a checkpoint within a task, by task.
    """

    def __init__(self, ledger: Ledger, timed: Iterable[int], widest: int):
        super().__init__()
        self.ledger, self.timed, self.widest = ledger, set(timed), widest
        self.updates: list[int] = []
        self.images: list[int] = []
        self.steps: list[Timed] = []
        self.kinds: list[tuple[dict[str, float], float]] = []
        self.saved = SavedTensors()
        self.activations = 0
        self.snapshot_bytes: list[int] = []
        self._mode, self._began, self._before = "", 0.0, dict[tuple[str, str], float]()
        self._durations: list[float] = []
        self._times, self._last = 1.0, False

    def before_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        """Replace the batches."""
        total = strategy.budget(strategy.experience)
        self.updates.append(total)
        chosen, self._images = representatives(strategy.dataloader, total)
        self.images.append(self._images)
        replaced: Any = self._batches(strategy, strategy.dataloader, chosen)
        strategy.dataloader = replaced
        strategy.between_steps = lambda snapshot, last: self._after(strategy, snapshot)

    def _batches(self, strategy: Strategy, loader: Any, chosen: list[tuple[Any, float]]) -> Iterator[Any]:
        task = strategy.experience.current_experience
        for i, (indices, times) in enumerate(chosen):
            self._begin("count", times)
            self._last = i + 1 == len(chosen) and task not in self.timed
            yield batch_of(loader, indices)
        if task not in self.timed:
            return
        whole = max(chosen, key=lambda each: each[1])[0]
        self._durations = []
        if task == self.widest:
            self._begin("activations", 0.0)
            yield batch_of(loader, whole)
        while True:
            self._begin("time", 0.0)
            yield batch_of(loader, whole)

    def _begin(self, mode: str, times: float) -> None:
        self._mode, self._times = mode, times
        # Counted once here, and multiplied by `times` in `_after`.
        self.ledger.enter("updates", 1.0)
        self.ledger.full = mode != "count"
        self._before = dict(self.ledger.counts)
        if mode == "activations":
            self.saved.begin()
        self._began = time.perf_counter()

    def _after(self, strategy: Strategy, snapshot: Any) -> None:
        """Finish an update."""
        seconds, ledger = now(strategy.device) - self._began, self.ledger
        work = {key[1]: n - self._before.get(key, 0.0) for key, n in ledger.counts.items() if key[0] == "updates"}
        work = {kind: n for kind, n in work.items() if n}
        ledger.full = False
        for kind, n in work.items():
            ledger.counts["updates", kind] += (self._times - 1) * n
        if self._mode == "count":
            self.kinds.append((work, self._times))
        elif self._mode == "activations":
            self.activations = self.saved.end()
        else:
            self._durations.append(seconds)
            self.steps.append(Timed(work, seconds))
        enough = len(self._durations) > LEAST_STEPS and sum(self._durations) > SECONDS
        slow = bool(self._durations) and self._durations[-1] > SLOW
        if self._last or enough or slow or len(self._durations) >= MOST_STEPS:
            if len(self._durations) > 1:
                # The first update of a task is slower than the others.
                del self.steps[-len(self._durations)]
            self._durations = []
            if strategy.best is not None:
                passes = -(-self.updates[-1] // strategy.best._per_pass)
                before = dict(ledger.counts)
                strategy.best.after_update(self.updates[-1], True)
                for key, n in list(ledger.counts.items()):
                    ledger.counts[key] += (passes - 1) * (n - before.get(key, 0.0))
            self.snapshot_bytes.append(tensor_bytes(snapshot()))
            strategy._stop_training = True
            ledger.enter("around")


def representatives(loader: Any, total: int) -> tuple[list[tuple[Any, float]], int]:
    """Return one batch of each kind among the first `total`, each with the number of batches it stands for, and the images.

    The first batch of a kind with images of a new part counts once, because heads that are kept are made in it. A loader
    without lists of indices, such as that of Avalanche's replay, is represented by its first two batches.
    """
    batches = getattr(loader, "batch_sampler", None)
    if batches is None or total == 0:
        first = [batch for batch, _ in zip(loader, range(min(2, total)), strict=False)]
        times = [1.0, float(total - 1)] if len(first) == 2 else [float(total)]
        return list(zip(first, times, strict=False)), round(sum(len(b[0]) * t for b, t in zip(first, times, strict=False)))
    data = loader.dataset
    data = getattr(data, "data", data) if not isinstance(data, ConcatDataset) else data
    ends = data.cumulative_sizes if isinstance(data, ConcatDataset) else []
    counts, example = Counter[Kind](), dict[Kind, Any]()
    taken = 0
    while taken < total:
        before = taken
        for batch in batches:
            indices = [each[0] if isinstance(each, tuple) else each for each in batch]
            kind = len(indices), tuple(sorted({bisect_right(ends, index) for index in indices}))
            counts[kind] += 1
            example.setdefault(kind, batch)
            taken += 1
            if taken == total:
                break
        if taken == before:
            raise ValueError("the training split is empty")
    chosen, seen = list[tuple[Any, float]](), set[int]()
    for kind, number in counts.items():
        left = number
        if number > 1 and not set(kind[1]) <= seen:
            chosen.append((Indices(example[kind]), 1.0))
            left -= 1
        seen |= set(kind[1])
        chosen.append((Indices(example[kind]), float(left)))
    return chosen, sum(kind[0] * number for kind, number in counts.items())


class Indices(list[Any]):
    """The keys of the images of a batch in a loader's dataset."""


def batch_of(loader: Any, chosen: Any) -> Any:
    """Return the batch of these keys, or the batch itself."""
    return loader.collate_fn([loader.dataset[key] for key in chosen]) if isinstance(chosen, Indices) else chosen
