"""Batches of features of a frozen image tower, computed once, in place of its training images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.encoder import DualEncoder

RANDOM = ("p", "prob", "drop_prob", "dropout")
"""Attributes with the probability of layers that are random in training mode: dropout, patch dropout, stochastic depth."""


def same_in_training(encoder: DualEncoder) -> bool:
    """Return whether the image tower computes the same in training mode: it has neither batch normalisation nor dropout."""
    for module in encoder.clip.visual.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return False
        values = (getattr(module, name, 0) for name in RANDOM)
        if any(isinstance(value, (int, float)) and value > 0 for value in values):
            return False
    return True


class FeatureRows(Dataset[Any]):
    """Batches of raw features [B, d], labels [B] and task labels [B] by the indices of a sampler.

    Args:
        raw: returns the raw features [N, d] of the training images, when the first batch is read.
        labels: labels [N].
        task_label: the label of their task.
    """

    def __init__(self, raw: Callable[[], Tensor], labels: Tensor, task_label: int = 0):
        self._raw, self._labels, self._task_label = raw, labels, task_label
        self._features: Tensor | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: Any) -> list[Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[Any]) -> list[Tensor]:
        if self._features is None:
            self._features = self._raw()
        # Loaders of files sample (index, number of the draw).
        rows = torch.tensor([index[0] if isinstance(index, tuple) else index for index in indices])
        tasks = torch.full((len(rows),), self._task_label, dtype=torch.int64)
        return [self._features[rows.to(self._features.device)], self._labels[rows.to(self._labels.device)], tasks]


def feature_loader(loader: DataLoader[Any], rows: FeatureRows) -> DataLoader[Any]:
    """Return a loader of features in the order of a loader of images: its sampler and its generator stay."""
    return DataLoader(rows, batch_sampler=loader.batch_sampler, collate_fn=_unchanged, generator=loader.generator)


def _unchanged(batch: list[Tensor]) -> list[Tensor]:
    return batch
