"""Training on all tasks so far together, and the batches of several experiences in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader

from benchmarks.scenario import DomainExperience
from strategies.engine import schedule
from strategies.engine.batches import DrawnPart, drawn_loader, drawn_parts, endless, in_memory, training_images
from strategies.engine.strategy import Strategy
from strategies.engine.training_options import TrainingOptions


class JointTraining(Strategy):
    """Base class of the methods that train on all tasks so far together, each time from the initial weights.

    Batches come from the tasks in turn, each scored among its own task's class prompts. The options of a subclass have
    `joint_budget`: row j gets as many updates as its last task ("task") or as all of its tasks together ("sum").
    """

    options: Any  # a subclass adds `joint_budget`
    initial: dict[str, Tensor]
    restarts = True

    def before_run(self) -> None:
        """Keep the initial weights."""
        super().before_run()
        self.initial = self.weights()

    def start_weights(self) -> Mapping[str, Tensor] | None:
        """Return the initial weights."""
        return self.initial

    @property
    def trained_together(self) -> list[DomainExperience]:
        """All tasks so far."""
        return self.experiences

    def before_experience(self) -> None:
        """Prepare the classifier for all tasks so far."""
        super().before_experience()
        for experience in self.experiences:
            # A resumed run has not met the earlier tasks.
            self.classifier.adaptation(experience)

    def budget(self, experience: DomainExperience) -> int:
        """Return the updates of the last task, or the sum over all tasks so far."""
        so_far = list(experience.origin_stream)[: experience.current_experience + 1]
        counted = so_far if self.options.joint_budget == "sum" else so_far[-1:]
        return sum(schedule.budget(self.options, len(e.dataset)) for e in counted)

    def make_train_dataloader(self, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        """Make a loader over all tasks so far."""
        if len(self.experiences) == 1:
            super().make_train_dataloader(num_workers, shuffle, **kwargs)
            return
        seeds, pin = (self.seed, self.experience.current_experience), self.device.type == "cuda"
        workers = num_workers or self.workers
        size = self.train_mb_size
        self.dataloader = joint_loader(self.experiences, size, self.options, workers=workers, seeds=seeds, pin=pin)


def joint_loader(
    experiences: Sequence[DomainExperience],
    batch_size: int,
    options: TrainingOptions | None = None,
    *,
    workers: int,
    seeds: tuple[int, ...],
    pin: bool = False,
) -> DataLoader[Any]:
    """Make batches [images uint8 [B, 3, S, S], labels [B], task labels [B]], each of one experience, the experiences in turn.

    Every experience is shuffled again whenever it has been used completely; its last, smaller batch is used. A pass, which
    `engine.batches.endless` repeats, ends when the largest experience has been used completely. The next pass continues the
    others. Order and augmentation depend only on `seeds`, not on `workers`, and draw nothing from global generators.

    Args:
        experiences: the tasks so far.
        batch_size: images per batch.
        options: say whether images are augmented; None: they are.
        workers: processes that read images. None are used if all images are in memory.
        seeds: seeds of order and augmentation.
        pin: pin the memory of batches.

    Raises:
        ValueError: an experience has no training images. Raised in the first pass.
    """
    data = [training_images(experience, options or TrainingOptions()) for experience in experiences]
    if all(in_memory(experience.domain.train) for experience in experiences):
        workers = 0
    batches = _InTurn(drawn_parts([len(images) for images in data], [batch_size] * len(data), seeds))
    return drawn_loader(ConcatDataset(data), batches, collate=data[0].collate_fn, workers=workers, seeds=seeds, pin=pin)


class _InTurn:
    """Batches of several parts in turn, until the longest part has been used completely."""

    def __init__(self, parts: Sequence[DrawnPart]):
        self.rounds = max(map(len, parts))
        self.streams = [endless(part) for part in parts]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for _ in range(self.rounds):
            for stream in self.streams:
                yield next(stream)

    def __len__(self) -> int:
        return self.rounds * len(self.streams)
