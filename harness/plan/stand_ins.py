"""A stream of stand-in pixels with the sizes, classes and templates of a run's data, and data that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from avalanche.benchmarks import CLScenario
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from benchmarks.data.dataset import Relabelled, TensorImages, targets_of
from benchmarks.data.domain import Domain
from benchmarks.full.dataset_table import Entry, Missing, entry
from benchmarks.scenario import scenario
from harness.plan.ledger import Ledger
from models.encoder import DualEncoder
from strategies.engine.batches import in_memory

FEW = 64
"""Images of a validation or test split that stand for all of it. The time per test image is measured on as many."""
TIMED = 512
"""The same for the test split whose evaluation is timed."""


class Unread(Dataset[tuple[Tensor, int]]):
    """Images of missing data: their labels are known, and nothing else."""

    def __init__(self, targets: Sequence[int]):
        self.targets = list(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise Missing("This image is known only by its number.")


class _Counted:
    """Counts every image that is read. `weight` is the number of images that each one stands for."""

    ledger: Ledger
    split: str
    weight: float

    def count(self) -> None:
        self.ledger.read(self.split, self.weight)


class InMemory(TensorImages, _Counted):
    """Stand-ins for images that are decoded already."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.count()
        return super().__getitem__(index)


class InFiles(Unread, _Counted):
    """Stand-ins for images that are decoded when they are read."""

    pixels: Tensor

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.count()
        return self.pixels, self.targets[index]


class ReferenceImages:
    """Stand-ins for reference images."""

    def __init__(self, ledger: Ledger, count: int, size: int):
        self._ledger, self._count, self._pixels = ledger, count, torch.zeros(1, 3, size, size, dtype=torch.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        rows = len(range(self._count)[index]) if isinstance(index, slice) else len(index)
        for _ in range(rows):
            self._ledger.read("reference")
        return self._pixels.expand(rows, -1, -1, -1)


def stand_in(dataset: Any, split: str, ledger: Ledger, size: int, most: int | None = None, decoded: bool = False) -> Any:
    """Return stand-ins for a dataset, in memory if it is.

    Args:
        dataset: the images; None is returned unchanged.
        split: their name in the ledger.
        ledger: counts what is read.
        size: side in pixels of images that are not in memory.
        most: number of images that stand for all of them; None: all.
        decoded: they will be in memory, because they are cached.
    """
    if dataset is None:
        return None
    labels = targets_of(dataset)
    kept = len(labels) if most is None else min(most, len(labels))
    targets = [labels[i * len(labels) // kept] for i in range(kept)]
    made: InMemory | InFiles
    if in_memory(dataset) or decoded:
        shape = _pixels_of(dataset).shape[2:] if in_memory(dataset) and not decoded else (size, size)
        made = InMemory(torch.zeros(1, 3, *shape, dtype=torch.uint8).expand(kept, -1, -1, -1), targets)
    else:
        made = InFiles(targets)
        made.pixels = torch.zeros(3, size, size, dtype=torch.uint8)
    made.ledger, made.weight = ledger, len(labels) / max(1, kept)
    made.split = f"{split} in memory" if isinstance(made, InMemory) else split
    return made


def stand_in_scenario(
    real: CLScenario, encoder: DualEncoder, ledger: Ledger, cached: Sequence[str], options: Any, timed: int | None
) -> CLScenario:
    """Return a scenario with the sizes, classes and templates of another one, whose images are stand-ins.

    Training splits have all their images. Of validation and test splits a few images stand for all.

    Args:
        real: the scenario.
        encoder: the model.
        ledger: counts what is read.
        cached: the splits that are decoded once and then read from memory.
        options: of the strategy; `validation_images` limits a search.
        timed: the task whose test split keeps more images, so that its evaluation can be timed.
    """
    size, tests = encoder.image_size, [*real.streams["test"], *real.streams["heldout"]]
    chosen = getattr(options, "validation_images", None)

    def made(experience: Any) -> Domain:
        domain: Domain = experience.domain
        val: Any = domain.val
        if val is not None and chosen is not None and chosen < len(targets_of(val)):
            val = Subset(val, range(chosen))
        most = TIMED if experience.task_label == timed else FEW
        return replace(
            domain,
            train=stand_in(domain.train, "train", ledger, size),
            val=stand_in(val, "val", ledger, size, FEW, decoded="val" in cached),
            test=stand_in(domain.test, "test", ledger, size, most, decoded="test" in cached),
            ood=None,
        )

    domains, count = [made(experience) for experience in tests], len(real.streams["train"])
    first = tests[0]
    return scenario(domains[:count], domains[count:], None, first.protocol, encoder=encoder, duplicates=first.duplicates)


@contextmanager
def known_by_table(missing: list[str]) -> Iterator[None]:
    """Within the block a missing dataset of the papers is built from its entry in the table, and its name is added to a list.

    Its labels are spread evenly over the classes. Splits whose sizes the table does not state stay missing.
    """
    from benchmarks import full

    real = full.build

    def build(name: str, *arguments: Any, **others: Any) -> Domain:
        try:
            return real(name, *arguments, **others)
        except Missing:
            if name not in missing:
                missing.append(name)
            return table_domain(entry(name))

    module: Any = full
    module.build = build
    try:
        yield
    finally:
        module.build = real


def table_domain(row: Entry) -> Domain:
    """Return a dataset as the table describes it. Raises Missing if its sizes are not stated."""
    if row.test is None or row.train is None:
        raise Missing(f"The dataset {row.name} is missing, and its sizes are not in the table.")
    names = list(row.fixed.values()) or [f"class {label}" for label in range(row.classes)]
    splits = {split: None if not size else Unread([i % row.classes for i in range(size)]) for split, size in row.sizes.items()}
    return Domain(row.name, tuple(names), row.templates, splits["train"], splits["val"], splits["test"], published=True)


def _pixels_of(dataset: Any) -> Tensor:
    """Return the images [N, 3, H, W] under the subsets of a dataset in memory."""
    while isinstance(dataset, (Subset, Relabelled)):
        dataset = dataset.dataset
    return dataset.images if not isinstance(dataset, ConcatDataset) else _pixels_of(dataset.datasets[0])
