"""Batches: in which order, with which augmentation, by how many processes, and what an error in one of them says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from benchmarks.data.dataset import Relabelled, TensorImages
from models.registry import UserError


def training_loader(
    data: Any, batch_size: int, *, shuffle: bool, workers: int, seeds: tuple[int, ...], pin: bool
) -> DataLoader:
    """Batches of an Avalanche dataset that is decoded from files: shuffled, the last, smaller one included (ZSCL's code).

    Order and augmentation depend on `seeds` alone, not on the number of processes: each draw of an image has a generator of
    its own. The global generators are left as they are.
    """
    batches = DrawnBatches(len(data), batch_size, shuffle, seeds)
    return drawn_loader(data, batches, collate=data.collate_fn, workers=workers, seeds=seeds, pin=pin)


def drawn_loader(
    data: Any, batches: Iterable[list[tuple[int, int]]], *, collate: Any, workers: int, seeds: tuple[int, ...], pin: bool
) -> DataLoader:
    """The items of `data` by batches of (index, number of the draw), augmented by `seeds` and that number alone."""
    return DataLoader(
        DrawnItems(data, seeds),
        batch_sampler=Skippable(batches),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        # Without one of its own, starting an epoch draws from the global generator: how often depends on the workers.
        generator=torch.Generator().manual_seed(mixed_seed(*seeds)),
    )


def memory_loader(data: Any, batch_size: int, *, shuffle: bool, workers: int, pin: bool) -> DataLoader:
    """Batches of an Avalanche dataset in memory: order and augmentation by the global generator, seeded by experience."""
    return DataLoader(
        data, batch_size=batch_size, shuffle=shuffle, num_workers=workers, collate_fn=data.collate_fn, pin_memory=pin
    )


def in_memory(dataset: Any) -> bool:
    """Whether a dataset's images are decoded already, so that processes to decode them would only cost."""
    while isinstance(dataset, (Subset, Relabelled)):
        dataset = dataset.dataset
    return isinstance(dataset, TensorImages)


def sent(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device; the way to a GPU does not wait for what it is doing."""
    if device.type != "cuda" or images.is_cuda:
        return images.to(device)
    return images.pin_memory().to(device, non_blocking=True)


def kept_on(images: Any, device: torch.device, share: float = 0.25) -> Any:
    """Images in memory on a GPU, where they take at most this share of what is free there; others as they are."""
    if device.type != "cuda" or not isinstance(images, Tensor):
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if images.nbytes <= share * free else images


def rows_of(images: Any, index: Tensor) -> Tensor:
    """`images[index]` for indices in memory, wherever the images are."""
    return images[index.to(images.device, non_blocking=True) if isinstance(images, Tensor) else index]


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader's batches, starting over at its end. Raises ValueError for a loader without any."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the training split is empty")


def without_traceback(error: UserError) -> UserError:
    """The user's mistake as it was said in a process that reads images; torch has put that process's traceback around it.

    Any other error of the kind is returned itself.
    """
    text = str(error)
    wrapped = re.match(r"Caught (\w+) in DataLoader worker process \d+\.\nOriginal Traceback", text)
    if wrapped is None:
        return error
    # The last line of a traceback: the class with its module, and what was said.
    said = re.split(rf"^(?:\w+\.)*{wrapped[1]}: ", text, flags=re.MULTILINE)[-1]
    return type(error)(said.strip())


class Skippable:
    """Batches of indices, of which the next `skip` are left out: nothing is read for them."""

    def __init__(self, batches: Any):
        self.batches, self.skip = batches, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            if self.skip:
                self.skip -= 1
            else:
                yield batch

    def __len__(self) -> int:
        return len(self.batches)


class DrawnBatches:
    """Batches of (index, number of the draw), a new shuffle every time they start over."""

    def __init__(self, count: int, batch_size: int, shuffle: bool, seeds: tuple[int, ...]):
        self.count, self.batch_size, self.shuffle = count, batch_size, shuffle
        self.generator = torch.Generator().manual_seed(mixed_seed(*seeds))
        self.drawn = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.count, generator=self.generator).tolist() if self.shuffle else list(range(self.count))
        for start in range(0, self.count, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield [(index, self.drawn + k) for k, index in enumerate(chosen)]
            self.drawn += len(chosen)

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)


class DrawnPart:
    """The batches of one of several datasets put together: of indices into the whole, and of numbers no other part draws.

    `offset`: the images before this part. It is part number `place` of so many `parts`.
    """

    def __init__(self, batches: DrawnBatches, offset: int, place: int, parts: int):
        self.batches, self.offset, self.place, self.parts = batches, offset, place, parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield [(self.offset + index, draw * self.parts + self.place) for index, draw in batch]

    def __len__(self) -> int:
        return len(self.batches)


def drawn_parts(counts: Sequence[int], sizes: Sequence[int], seeds: tuple[int, ...]) -> list[DrawnPart]:
    """Shuffled batches of sizes[i] images of each of several datasets put together, counts[i] images long."""
    parts = []
    for i, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        batches = DrawnBatches(count, size, True, (*seeds, i))
        parts.append(DrawnPart(batches, sum(counts[:i]), i, len(counts)))
    return parts


class DrawnItems(Dataset):
    """Items by (index, number of the draw): torch's generator, which augmentation draws from, is seeded by the number."""

    def __init__(self, data: Any, seeds: tuple[int, ...]):
        self.data, self.seeds = data, seeds

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, draw = key
        generator = torch.default_generator
        state = generator.get_state()
        try:
            generator.manual_seed(mixed_seed(*self.seeds, draw))
            return self.data[index]
        finally:
            generator.set_state(state)


def mixed_seed(*seeds: int) -> int:
    """One seed from several, another one for every combination."""
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])
