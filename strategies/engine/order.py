"""`Order`: the batches of training and reference images, given by the caller in place of seeded shuffles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import DataLoader

from benchmarks.scenario import DomainExperience
from models.registry import UserError
from strategies.engine.batches import drawn_loader

BatchesOf = Callable[[DomainExperience], Iterable[Sequence[int]]]


@dataclass(frozen=True)
class Order:
    """The order of images in training, for an exact comparison with another implementation.

    Each field is a function that takes an experience and returns its batches, one sequence of indices per update. When the
    batches end before the task does, the function is called again. A continued run, and a teacher that is computed before the
    first update, call it again too, so it must return the same batches each time. A generator function is allowed, also one
    that never ends.

    Attributes:
        training: batches of indices into `experience.domain.train`. They replace the option `batch_size`. None: shuffled by the
            run's seed.
        reference: batches of indices into the reference images of a method that distils: `Strategy.reference.images`, the
            training images for reference_images=current, or the memory of `icarl`. None: shuffled by the run's seed.

    Example:
        >>> lists = [[[0, 1], [2, 3]], [[4, 0], [1, 2]]]
        >>> order = Order(training=lambda experience: lists[experience.current_experience])
    """

    training: BatchesOf | None = None
    reference: BatchesOf | None = None


class GivenBatches:
    """The batches that a field of an `Order` returns for an experience, as lists of checked indices.

    Iterating again calls the function again. Raises UserError for an index outside 0..count-1, an empty batch, and no batches.

    Args:
        field: the field of the order, for messages.
        batches: its function.
        experience: the experience.
        count: number of images that the indices are into.
    """

    def __init__(self, field: Literal["training", "reference"], batches: BatchesOf, experience: DomainExperience, count: int):
        self.field, self.batches, self.experience, self.count = field, batches, experience, count

    def __iter__(self) -> Iterator[list[int]]:
        empty = True
        for batch in self.batches(self.experience):
            empty = False
            indices = [int(index) for index in batch]
            outside = [index for index in indices if not 0 <= index < self.count]
            if outside or not indices:
                fault = f"index {outside[0]}" if outside else "an empty batch"
                raise UserError(
                    f"Order.{self.field} gave {fault} for the task {self.experience.domain.name!r}. Each batch needs indices "
                    f"of its {self.count:,} {self.field} images, 0 to {self.count - 1}."
                )
            yield indices
        if empty:
            raise UserError(
                f"Order.{self.field} gave no batches for the task {self.experience.domain.name!r}. It is called again for each "
                "pass over the images, so it must return new batches, not an iterator that is used up."
            )


def given_loader(data: Any, batches: GivenBatches, *, workers: int, seeds: tuple[int, ...], pin: bool) -> DataLoader[Any]:
    """Load given batches of an Avalanche dataset. Augmentation depends only on `seeds` and the number of the draw."""
    return drawn_loader(data, _Numbered(batches), collate=data.collate_fn, workers=workers, seeds=seeds, pin=pin)


class _Numbered:
    """Given batches as (index, number of the draw)."""

    def __init__(self, batches: GivenBatches):
        self.batches, self.drawn = batches, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield [(index, self.drawn + k) for k, index in enumerate(batch)]
            self.drawn += len(batch)
