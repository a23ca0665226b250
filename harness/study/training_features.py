"""Train on the features of a frozen image tower, computed once, in place of its images."""

from __future__ import annotations

from typing import Any

from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from strategies.engine.training_features import FeatureRows, feature_loader


class TrainOnFeatures(SupervisedPlugin):
    """Replace the images of the training batches by raw features, in the order of the strategy's loader.

    It is exact for a technique that does not train the image tower, without augmentation, if
    `strategies.engine.training_features.same_in_training`.

    Args:
        raw: raw features [N, d] of the training images.
        labels: labels [N].
    """

    def __init__(self, raw: Tensor, labels: Tensor):
        super().__init__()
        self._rows = FeatureRows(lambda: raw, labels)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Replace the loader."""
        strategy.dataloader = feature_loader(strategy.dataloader, self._rows)
