"""Avalanche's replay plugin with a memory of indices, and batches that depend only on the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.storage_policy import BalancedExemplarsBuffer
from torch.utils.data import ConcatDataset, DataLoader

from benchmarks.data.sampling import permutation
from benchmarks.scenario import DomainExperience
from models.registry import UserError
from strategies.engine.batches import DrawnPart, drawn_loader, drawn_parts, endless, in_memory, mixed_seed, training_images
from strategies.engine.strategy import Strategy


class Replay(ReplayPlugin):
    """Experience replay: from the second task on each batch is followed by images of earlier tasks from a memory.

    After each task the memory takes a random choice of its training images. `mem_size` images in all are shared equally by the
    tasks so far. Each image is augmented as in its task's training, scored among its own task's class prompts, and counts in
    the cross-entropy like any other. Each step uses `batch_size_mem` of them, or as many as in a batch if it is None. With
    `task_balanced_dataloader` each task has the same number.

    Fixed here: Avalanche draws memory and batches from the global generator, in the main process, and they cannot be saved
    without pickling. Here both depend only on the run's seed and the task, whatever the number of processes, and the strategy's
    `workers` read images in files.
    """

    storage_policy: Memory

    def __init__(self, mem_size: int, batch_size_mem: int | None, task_balanced_dataloader: bool):
        super().__init__(
            mem_size=mem_size,
            batch_size_mem=batch_size_mem,
            task_balanced_dataloader=task_balanced_dataloader,
            storage_policy=Memory(mem_size),
        )

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Replace the strategy's loader by one over the task and the memory."""
        memory = [images for images in self.storage_policy.images_by_task() if len(images)]
        if not memory:
            return
        share = self.batch_size_mem or strategy.train_mb_size
        sizes = [share]
        if self.task_balanced_dataloader:
            if share < len(memory):
                raise UserError(f"replay.batch_size_mem must be at least {len(memory)}, one per earlier task, got {share}.")
            sizes = [share // len(memory) + (i < share % len(memory)) for i in range(len(memory))]
        else:
            memory = [ConcatDataset(memory)]
        domains = [e.domain.train for e in strategy.experiences]
        strategy.dataloader = replay_loader(
            [strategy.adapted_dataset, *memory],
            [strategy.train_mb_size, *sizes],
            workers=0 if all(map(in_memory, domains)) else strategy.workers,
            seeds=(strategy.seed, strategy.experience.current_experience, 7),
            collate=strategy.adapted_dataset.collate_fn,
            pin=strategy.device.type == "cuda",
        )

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Take a choice of the task's images into the memory."""
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def state(self) -> dict[str, Any]:
        """Return the indices into the tasks' training images, by number of the task."""
        return {"indices": {str(t): list(indices) for t, indices in self.storage_policy.indices.items()}}

    def load(self, state: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
        """Restore the memory. `experiences` are those trained so far."""
        self.storage_policy.datasets = {e.current_experience: training_images(e, strategy.options) for e in experiences}
        self.storage_policy.indices = {int(t): list(indices) for t, indices in state["indices"].items()}


class Memory(BalancedExemplarsBuffer):
    """A memory of indices of training images: of each task the first ones of a seeded random order."""

    def __init__(self, max_size: int):
        super().__init__(max_size)
        self.indices: dict[int, list[int]] = {}
        self.datasets: dict[int, Any] = {}

    @property
    def buffer(self) -> Any:
        """The images as one dataset of Avalanche."""
        return concat_datasets(self.images_by_task())

    def images_by_task(self) -> list[Any]:
        """Return the images of each task."""
        return [data.subset(self.indices[t]) for t, data in self.datasets.items()]

    def post_adapt(self, agent: Strategy, exp: DomainExperience) -> None:
        """Add a task's images."""
        t = exp.current_experience
        self.datasets[t] = training_images(exp, agent.options)
        self.indices[t] = permutation(len(exp.dataset), mixed_seed(agent.seed, t, 6))
        self.resize(agent, self.max_size)

    def resize(self, strategy: Strategy, new_size: int) -> None:
        """Share this number of images equally among the tasks."""
        self.max_size = new_size
        shares = self.get_group_lengths(len(self.indices))
        self.indices = {t: indices[:share] for share, (t, indices) in zip(shares, self.indices.items(), strict=True)}


def replay_loader(
    datasets: Sequence[Any], sizes: Sequence[int], *, workers: int, seeds: tuple[int, ...], collate: Any, pin: bool
) -> DataLoader[Any]:
    """Load batches with sizes[i] images of datasets[i] each, in this order. A pass ends with the first dataset.

    The next pass continues the others, each shuffled again when it has been used completely. The last, smaller batch of each is
    used. Order and augmentation depend only on `seeds`.
    """
    batches = _Together(drawn_parts([len(data) for data in datasets], sizes, seeds))
    return drawn_loader(ConcatDataset(datasets), batches, collate=collate, workers=workers, seeds=seeds, pin=pin)


class _Together:
    """Batches of all parts at once, until the first part has been used completely."""

    def __init__(self, parts: Sequence[DrawnPart]):
        self.first, self.others = parts[0], [endless(part) for part in parts[1:]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.first:
            yield [*batch, *(key for stream in self.others for key in next(stream))]

    def __len__(self) -> int:
        return len(self.first)
