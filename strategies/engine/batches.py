"""Loaders of training batches: order, augmentation, processes that read images, and their errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from benchmarks.data.dataset import Relabelled, TensorImages
from benchmarks.scenario import DomainExperience
from models.registry import UserError
from strategies.engine.training_options import TrainingOptions


class Batch(NamedTuple):
    """One mini-batch on the device.

    `images` are uint8 [B, 3, S, S] before the model's normalisation, which `encoder.encode_images` applies. `labels` [B] are
    classes of the image's task, from 0. `task_labels` [B] are the tasks; with replay a batch has images of several.
    """

    images: Tensor
    labels: Tensor
    task_labels: Tensor


def training_images(experience: DomainExperience, options: TrainingOptions) -> Any:
    """Return the training images of an experience as an Avalanche dataset, prepared as the options say."""
    if options.augmentation == "none":
        return experience.dataset.eval()
    return experience.dataset.with_transforms("train-torch") if options.resampling == "torch" else experience.dataset.train()


def training_loader(
    data: Any, batch_size: int, *, shuffle: bool, workers: int, seeds: tuple[int, ...], pin: bool
) -> DataLoader[Any]:
    """Load batches of an Avalanche dataset that is decoded from files, the last, smaller one included (ZSCL's code).

    Order and augmentation depend only on `seeds`, not on the number of processes: each draw of an image has a separate
    generator. The global generators are not changed.
    """
    batches = DrawnBatches(len(data), batch_size, shuffle, seeds)
    return drawn_loader(data, batches, collate=data.collate_fn, workers=workers, seeds=seeds, pin=pin)


def drawn_loader(
    data: Any, batches: Iterable[list[tuple[int, int]]], *, collate: Any, workers: int, seeds: tuple[int, ...], pin: bool
) -> DataLoader[Any]:
    """Load the items of `data` in batches of (index, number of the draw). Augmentation depends only on `seeds` and the draw."""
    return DataLoader(
        DrawnItems(data, seeds),
        batch_sampler=Skippable(batches),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        persistent_workers=workers > 0,
        # Without this generator, starting an epoch draws from the global one, and how often depends on the workers.
        generator=torch.Generator().manual_seed(mixed_seed(*seeds)),
    )


def memory_loader(data: Any, batch_size: int, *, shuffle: bool, workers: int, pin: bool) -> DataLoader[Any]:
    """Load batches of an Avalanche dataset in memory. Order and augmentation come from the global generator."""
    return DataLoader(
        data, batch_size=batch_size, shuffle=shuffle, num_workers=workers, collate_fn=data.collate_fn, pin_memory=pin
    )


def in_memory(dataset: Any) -> bool:
    """Return whether a dataset's images are decoded already, so that processes to decode them would only cost time."""
    while isinstance(dataset, (Subset, Relabelled)):
        dataset = dataset.dataset
    return isinstance(dataset, TensorImages)


def sent(images: Tensor, device: torch.device) -> Tensor:
    """Move images to the device. The transfer to a GPU does not wait for its current work."""
    if device.type != "cuda" or images.is_cuda:
        return images.to(device)
    # Pinned memory keeps the strides, and rows that share memory (`expand`) cannot be written.
    return images.contiguous().pin_memory().to(device, non_blocking=True)


def kept_on(images: Any, device: torch.device, share: float = 0.25) -> Any:
    """Move images in memory to a GPU if they take at most this share of its free memory. Return others unchanged."""
    if device.type != "cuda" or not isinstance(images, Tensor):
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if images.nbytes <= share * free else images


def rows_of(images: Any, index: Tensor) -> Tensor:
    """Return `images[index]` for indices in memory, on whatever device the images are."""
    rows: Tensor = images[index.to(images.device, non_blocking=True) if isinstance(images, Tensor) else index]
    return rows


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the loader's batches, restarting at its end. Raises ValueError for a loader without batches."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("the training split is empty")


def without_traceback(error: UserError) -> UserError:
    """Return a user's mistake from a process that reads images, without the traceback that torch wraps it in.

    Any other error is returned unchanged.
    """
    text = str(error)
    wrapped = re.match(r"Caught (\w+) in DataLoader worker process \d+\.\nOriginal Traceback", text)
    if wrapped is None:
        return error
    # The last line of a traceback: the class with its module, and the message.
    message = re.split(rf"^(?:\w+\.)*{wrapped[1]}: ", text, flags=re.MULTILINE)[-1]
    return type(error)(message.strip())


class Skippable:
    """Batches of indices.

    Attributes:
        skip: how many of the next are left out without reading anything for them.
        repeats: begin again at the end. Processes then read images of the next pass while training uses the last batches of
            this one.
    """

    def __init__(self, batches: Any):
        self.batches, self.skip, self.repeats = batches, 0, False

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in endless(self.batches) if self.repeats else self.batches:
            if self.skip:
                self.skip -= 1
            else:
                yield batch

    def __len__(self) -> int:
        return len(self.batches)


class DrawnBatches:
    """Batches of (index, number of the draw), shuffled again every time they restart."""

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
    """The batches of one of several concatenated datasets.

    Indices are into the whole, and no other part has the same number of a draw. `offset` is the number of images before this
    part, which is number `place` of `parts`.
    """

    def __init__(self, batches: DrawnBatches, offset: int, place: int, parts: int):
        self.batches, self.offset, self.place, self.parts = batches, offset, place, parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield [(self.offset + index, draw * self.parts + self.place) for index, draw in batch]

    def __len__(self) -> int:
        return len(self.batches)


def drawn_parts(counts: Sequence[int], sizes: Sequence[int], seeds: tuple[int, ...]) -> list[DrawnPart]:
    """Return shuffled batches of sizes[i] images of each of several concatenated datasets, counts[i] images long."""
    parts: list[DrawnPart] = []
    for i, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        batches = DrawnBatches(count, size, True, (*seeds, i))
        parts.append(DrawnPart(batches, sum(counts[:i]), i, len(counts)))
    return parts


class DrawnItems(Dataset[Any]):
    """Items by (index, number of the draw). Torch's generator, from which augmentation draws, is seeded by that number."""

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
    """Return one seed from several, a different one for every combination."""
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])
