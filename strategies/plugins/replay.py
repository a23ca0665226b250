"""Avalanche's replay plugin, with a memory that is indices and batches that depend on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.storage_policy import BalancedExemplarsBuffer
from torch.utils.data import ConcatDataset, DataLoader

from benchmarks.data.sampling import permutation
from models.registry import UserError
from strategies.engine.batches import DrawnPart, drawn_loader, drawn_parts, endless, in_memory, mixed_seed


class Replay(ReplayPlugin):
    """Experience replay: from the second task on a batch is followed by images of earlier tasks from a memory.

    After each task the memory takes a random choice of its training images; `mem_size` in all are shared equally by the tasks
    so far. Each image is augmented as in its task's training, scored among its own task's class prompts, and counts in the
    cross-entropy like any other. `batch_size_mem` of them stand in a step, as many as in a batch if None; with
    `task_balanced_dataloader` the same number of each task.

    Put right: Avalanche's memory and batches are drawn from the global generator, in the main process, and cannot be saved
    without pickling; here both depend on the run's seed and the task alone, whatever the number of processes, and images in
    files are read by the strategy's `workers`.
    """

    storage_policy: Memory

    def __init__(self, mem_size: int, batch_size_mem: int | None, task_balanced_dataloader: bool):
        super().__init__(
            mem_size=mem_size,
            batch_size_mem=batch_size_mem,
            task_balanced_dataloader=task_balanced_dataloader,
            storage_policy=Memory(mem_size),
        )

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = [part for part in self.storage_policy.parts() if len(part)]
        if not memory:
            return
        share = self.batch_size_mem or strategy.train_mb_size
        sizes = [share]
        if self.task_balanced_dataloader:
            if share < len(memory):
                raise UserError(f"replay: batch_size_mem must be at least {len(memory)}, one of each task, got {share}.")
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

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def state(self) -> dict[str, Any]:
        """Indices into the tasks' training images, by number of the task."""
        return {"indices": {str(t): list(indices) for t, indices in self.storage_policy.indices.items()}}

    def load(self, state: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
        """Take back what `state` gave; `experiences` are those trained so far."""
        self.storage_policy.datasets = {e.current_experience: e.dataset.train() for e in experiences}
        self.storage_policy.indices = {int(t): list(indices) for t, indices in state["indices"].items()}


class Memory(BalancedExemplarsBuffer):
    """Which training images are kept: of each task a seeded random choice, the first ones of it where room is short."""

    def __init__(self, max_size: int):
        super().__init__(max_size)
        self.indices: dict[int, list[int]] = {}
        self.datasets: dict[int, Any] = {}

    @property
    def buffer(self) -> Any:
        """The images themselves, as Avalanche has them."""
        return concat_datasets(self.parts())

    def parts(self) -> list[Any]:
        """The images by task."""
        return [data.subset(self.indices[t]) for t, data in self.datasets.items()]

    def post_adapt(self, agent: Any, exp: Any) -> None:
        """Take in a task's images."""
        t = exp.current_experience
        self.datasets[t] = exp.dataset.train()
        self.indices[t] = permutation(len(exp.dataset), mixed_seed(agent.seed, t, 6))
        self.resize(agent, self.max_size)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Share a number of images equally among the tasks."""
        self.max_size = new_size
        shares = self.get_group_lengths(len(self.indices))
        self.indices = {t: indices[:share] for share, (t, indices) in zip(shares, self.indices.items(), strict=True)}


def replay_loader(
    datasets: Sequence[Any], sizes: Sequence[int], *, workers: int, seeds: tuple[int, ...], collate: Any, pin: bool
) -> DataLoader:
    """Batches with sizes[i] images of datasets[i] each, in this order; a pass ends with the first dataset.

    The others go on where they stand, each shuffled anew when it has been seen whole; the last, smaller batch of each is used.
    Order and augmentation depend on `seeds` alone.
    """
    batches = _Together(drawn_parts([len(data) for data in datasets], sizes, seeds))
    return drawn_loader(ConcatDataset(datasets), batches, collate=collate, workers=workers, seeds=seeds, pin=pin)


class _Together:
    """Batches of all parts at once, until the first part has been seen whole."""

    def __init__(self, parts: Sequence[DrawnPart]):
        self.first, self.others = parts[0], [endless(part) for part in parts[1:]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.first:
            yield [*batch, *(key for stream in self.others for key in next(stream))]

    def __len__(self) -> int:
        return len(self.first)
