"""Unit features and labels of a task's training images, for methods that compute statistics of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.data.dataset import targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.progress import Progress
from benchmarks.reference import FileImages
from models import tuning
from models.encoder import DualEncoder
from models.modes import evaluating
from strategies.engine.batches import sent


class TaskFeatures(NamedTuple):
    """Features [N, d] and labels int64 [N], from 0, of training images of one task, on the encoder's device."""

    features: Tensor
    labels: Tensor


class TaskImages:
    """The features of training images under the current weights and the evaluation transform.

    Raw features of the last task are kept while the image tower does not train, 4 d bytes per image. `DualEncoder.touch_images`
    drops them.
    """

    def __init__(self) -> None:
        # The domain is kept too: its id could be used again for another object.
        self._kept: tuple[Domain, int, Tensor] | None = None

    @torch.no_grad()
    def features(
        self,
        encoder: DualEncoder,
        domain: Domain,
        indices: Sequence[int] | None = None,
        progress: Progress | None = None,
        chunk: int = 256,
    ) -> TaskFeatures:
        """Return the features and labels of these training images of a domain; None: all of them, in order.

        Raises:
            ValueError: the domain has no training images.
        """
        raw, labels = self.raw(encoder, domain, indices, progress, chunk)
        with evaluating(encoder):
            return TaskFeatures(torch.cat([encoder.finish_images(part) for part in torch.split(raw, chunk)]), labels)

    @torch.no_grad()
    def raw(
        self,
        encoder: DualEncoder,
        domain: Domain,
        indices: Sequence[int] | None = None,
        progress: Progress | None = None,
        chunk: int = 256,
    ) -> TaskFeatures:
        """Return the outputs [N, d] of the image tower, and the labels. Arguments and errors are those of `features`."""
        if domain.train is None:
            raise ValueError(f"the domain {domain.name!r} has no training images")
        rows = torch.arange(len(domain.train)) if indices is None else torch.tensor(indices, dtype=torch.int64)
        labels = torch.tensor(targets_of(domain.train), dtype=torch.int64)[rows].to(encoder.device)
        kept = self._kept
        if kept is not None and kept[0] is domain and kept[1] == encoder.image_version:
            return TaskFeatures(kept[2][rows.to(encoder.device)], labels)
        images, parts = FileImages(domain.train, encoder.preprocess), []
        with evaluating(encoder):
            for i, part in enumerate(torch.split(rows, chunk)):
                if progress is not None:
                    progress(i * chunk, len(rows), f"features of {domain.name}")
                parts.append(encoder.raw_images(sent(images[part], encoder.device)))
        raw = torch.cat(parts) if parts else encoder.mean.new_zeros(0, encoder.feature_dim)
        keep = indices is None and not tuning.trains_images(encoder)
        self._kept = (domain, encoder.image_version, raw) if keep else None
        return TaskFeatures(raw, labels)
