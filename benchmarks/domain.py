"""What is learned in one experience: a `Domain` is images with labels, class names, prompt templates and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from models.prompts import fill
from models.registry import check_text

VALIDATION_FRACTION = 0.1
VALIDATION_LIMIT = 5000


class ImageDataset(Protocol):
    """A torch-style dataset of (image, label): a PIL image or a uint8 tensor [3, H, W], and an int in 0..C-1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]: ...


class TensorImages(Dataset):
    """Images held in memory.

    `images` is uint8 [N, 3, H, W], `targets` a sequence of N ints; items are (uint8 [3, H, W], int).
    """

    def __init__(self, images: torch.Tensor, targets: Sequence[int]):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, H, W], got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images but {len(targets)} targets")
        self.images = images
        self.targets = [int(t) for t in targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], self.targets[index]


@dataclass(frozen=True)
class Domain:
    """One task's data.

    `templates` hold "{}" for the class name; the first one trains, all average at evaluation (ZSCL's released code). `val`
    may be None: then `with_validation` takes a seeded 10 % of train, at most 5,000 images. `ood` is an out-of-distribution
    test set of the same classes, never trained on. `part_of` names the domain whose classes these are a part of.
    `split_sources` maps "train", "val" or "test" to a phrase that says where its images come from, for the header of a run:
    "the folder Testing/", "10 % of each class, seed 0", "the validation split: there is no labelled test split". Readers fill
    it where they decide; whoever makes one split out of another changes it (`replace`). A split may be missing from it.
    `warnings` are sentences about the data that the user should look at, `notes` those that explain how it was read ("ignored
    48 files in 24 folders called @eaDir"); every command that reads data prints both (`harness.remarks`).

    Raises ValueError for a domain without classes or with a template that has no "{}", and for a name or template that
    `models.registry.check_text` refuses.
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    train: ImageDataset | None
    val: ImageDataset | None
    test: ImageDataset | None
    ood: ImageDataset | None = None
    licence: str = ""
    source: str = ""
    part_of: str | None = None
    split_sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classnames", tuple(self.classnames))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.classnames:
            raise ValueError(f"domain {self.name!r} has no class names")
        if not self.templates:
            raise ValueError(f"domain {self.name!r} has no prompt templates")
        check_text(self.name, "name of the data")
        for name in self.classnames:
            check_text(name, "class name")
        for template in self.templates:
            check_text(template, "template")
            if "{}" not in template:
                raise ValueError(f"template {template!r} of domain {self.name!r} has no '{{}}' for the class name")

    def prompts(self, template: int = 0) -> list[str]:
        """The class names in one template, in class order; template 0 is the one that trains."""
        return fill(self.templates[template], self.classnames)


def targets_of(dataset: ImageDataset) -> list[int]:
    """The labels of a dataset, without decoding its images where it says them (`targets`, `labels`, `Subset` of
    such).
    """
    if isinstance(dataset, Subset):
        inner = targets_of(dataset.dataset)  # type: ignore[arg-type]
        return [inner[i] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [target for part in dataset.datasets for target in targets_of(part)]  # type: ignore[arg-type]
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(dataset, attribute, None)
        if labels is not None and len(labels) == len(dataset):
            return [int(label) for label in labels]
    return [int(dataset[i][1]) for i in range(len(dataset))]


def permutation(n: int, seed: int) -> list[int]:
    """A seeded permutation of range(n) that touches no global generator."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def sample(dataset: Any, n: int, seed: int) -> Subset:
    """A seeded random choice of at most n images of a dataset, in random order."""
    return Subset(dataset, permutation(len(dataset), seed)[:n])


def with_validation(domain: Domain, seed: int = 0, take: bool = True) -> Domain:
    """The domain with a validation split: its own, or a seeded 10 % of train (at most 5,000 images).

    `take`: those images leave the training split. Otherwise they stay in it, for protocols that train on all of it and
    select nothing.
    """
    if domain.val is not None or domain.train is None:
        return domain
    order = permutation(len(domain.train), seed)
    size = min(VALIDATION_LIMIT, max(1, int(VALIDATION_FRACTION * len(order))))
    train: Any = domain.train
    return replace(domain, val=Subset(train, order[:size]), train=Subset(train, order[size:]) if take else train)


def limited(domain: Domain, limit: int, seed: int = 0) -> Domain:
    """The domain with at most `limit` images per split, a seeded random choice."""
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")

    def cut(dataset: Any) -> Any:
        if dataset is None or len(dataset) <= limit:
            return dataset
        return Subset(dataset, sorted(permutation(len(dataset), seed)[:limit]))

    splits = {split: cut(getattr(domain, split)) for split in ("train", "val", "test", "ood")}
    return replace(domain, **splits)
