"""Train on the features of a frozen image tower, computed once, in place of its images."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
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
    """Batches of raw features [B, d], labels [B] and task labels [B] by the indices of a sampler."""

    def __init__(self, raw: Tensor, labels: Tensor):
        self._raw, self._labels = raw, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: Any) -> list[Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[Any]) -> list[Tensor]:
        # Loaders of files sample (index, number of the draw).
        rows = torch.tensor([index[0] if isinstance(index, tuple) else index for index in indices], device=self._raw.device)
        return [self._raw[rows], self._labels[rows], torch.zeros(len(rows), dtype=torch.int64)]


class TrainOnFeatures(SupervisedPlugin):
    """Replace the images of the training batches by raw features, in the order of the strategy's loader.

    It is exact for a technique that does not train the image tower, without augmentation, if `same_in_training`.

    Args:
        raw: raw features [N, d] of the training images.
        labels: labels [N].
    """

    def __init__(self, raw: Tensor, labels: Tensor):
        super().__init__()
        self._rows = FeatureRows(raw, labels)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Replace the loader. The sampler and the generators stay."""
        loader = strategy.dataloader
        strategy.dataloader = DataLoader(
            self._rows, batch_sampler=loader.batch_sampler, collate_fn=_unchanged, generator=loader.generator
        )


def _unchanged(batch: list[Tensor]) -> list[Tensor]:
    return batch
