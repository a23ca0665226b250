"""Datasets of labelled images: the protocol, two small implementations, and `targets_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset


class ImageDataset(Protocol):
    """A torch-style dataset of (image, label): a PIL image or a uint8 tensor [3, H, W], and an int in 0..C-1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]: ...


class TensorImages(Dataset[tuple[torch.Tensor, int]]):
    """Images held in memory; items are (uint8 [3, H, W], int).

    Args:
        images: uint8 [N, 3, H, W].
        targets: N integer labels.

    Raises:
        ValueError: for another type or shape, and for different numbers of images and labels.

    Example:
        >>> TensorImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [0, 1]).targets
        [0, 1]
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


class Relabelled(Dataset[tuple[Any, int]]):
    """The images of another dataset with other labels.

    Args:
        dataset: the dataset that holds the images.
        labels: new label by old label.
    """

    def __init__(self, dataset: Any, labels: Mapping[int, int]):
        self.dataset = dataset
        self.targets = [labels[target] for target in targets_of(dataset)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[index][0], self.targets[index]


def targets_of(dataset: Any) -> list[int]:
    """Return the labels of a dataset.

    The labels come from `targets`, `labels` or `_labels`, also through `Subset` and `ConcatDataset`. Only a dataset without
    these attributes is read item by item, which decodes its images.

    Returns:
        The labels [N], integers in 0..C-1.
    """
    if isinstance(dataset, Subset):
        inner = targets_of(dataset.dataset)
        return [inner[i] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [target for part in dataset.datasets for target in targets_of(part)]
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(dataset, attribute, None)
        if labels is not None and len(labels) == len(dataset):
            return [int(label) for label in labels]
    return [int(dataset[i][1]) for i in range(len(dataset))]
