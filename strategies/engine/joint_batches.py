"""Training on all tasks so far together: what such methods share, and batches of several experiences in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader

from strategies.engine import schedule
from strategies.engine.batches import DrawnPart, drawn_loader, drawn_parts, endless, in_memory
from strategies.engine.strategy import Strategy


class JointTraining(Strategy):
    """What methods share that train on all tasks so far together, each time from the initial weights; no method by itself.

    Batches come from the tasks in turn, each scored among its own task's class prompts. `initial`, the initial weights, is the
    method's to set in `before_run`. Its options hold `joint_budget`: updates of row j, as many as for its last task alone
    ("task") or for all of its tasks together ("sum"); each method says it itself, where `list strategies --long` reads it.
    """

    initial: dict[str, Tensor]

    def before_experience(self) -> None:
        super().before_experience()
        self.set_weights(self.initial)
        for experience in self.experiences:
            # A resumed run has not met the earlier tasks.
            self.classifier.adaptation(experience)

    def budget(self, experience: Any) -> int:
        so_far = list(experience.origin_stream)[: experience.current_experience + 1]
        counted = so_far if self.options.joint_budget == "sum" else so_far[-1:]
        return sum(schedule.budget(self.options, len(e.dataset)) for e in counted)

    def make_train_dataloader(self, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        if len(self.experiences) == 1:
            super().make_train_dataloader(num_workers, shuffle, **kwargs)
            return
        seeds, pin = (self.seed, self.experience.current_experience), self.device.type == "cuda"
        workers = num_workers or self.workers
        self.dataloader = joint_loader(self.experiences, self.train_mb_size, workers=workers, seeds=seeds, pin=pin)


def joint_loader(
    experiences: Sequence[Any], batch_size: int, *, workers: int, seeds: tuple[int, ...], pin: bool = False
) -> DataLoader:
    """Batches [images uint8 [B, 3, S, S], labels [B], task labels [B]], each of one experience, the experiences in turn.

    Every experience is shuffled anew whenever it has been seen whole; its last, smaller batch is used. A pass, which
    `engine.batches.endless` repeats, ends when the largest experience has been seen whole. The next pass continues the others.
    Order and augmentation depend on `seeds` alone, not on `workers`, and draw nothing from global generators.
    Processes are used only when some of the images are not in memory.

    Raises ValueError, in the first pass, for an experience without training images.
    """
    data = [experience.dataset.train() for experience in experiences]
    if all(in_memory(experience.domain.train) for experience in experiences):
        workers = 0
    batches = _InTurn(drawn_parts([len(part) for part in data], [batch_size] * len(data), seeds))
    return drawn_loader(ConcatDataset(data), batches, collate=data[0].collate_fn, workers=workers, seeds=seeds, pin=pin)


class _InTurn:
    """Batches of one part after the other, the parts in turn, until the longest has been seen whole."""

    def __init__(self, parts: Sequence[DrawnPart]):
        self.rounds = max(map(len, parts))
        self.streams = [endless(part) for part in parts]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for _ in range(self.rounds):
            for stream in self.streams:
                yield next(stream)

    def __len__(self) -> int:
        return self.rounds * len(self.streams)
