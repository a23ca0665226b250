"""Features of a frozen image tower, kept from one evaluation to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.scenario import DomainExperience
from models.encoder import DualEncoder


class KeptFeatures:
    """Raw image features [N, d] of evaluation images, by experience: 4 d bytes per image, on the encoder's device.

    They are for an image tower that does not train (adapters, probes, text tuning, no training at all). The same images have
    the same features after every task, so they pass through the tower once per run. After code that writes to the tower calls
    `DualEncoder.touch_images`, they pass through it again. Features are kept batch by batch as they were computed, so the
    values are bit-exactly those of the plain pass.

    Args:
        plain: the features are those of the tower without added modules (`models.route.PLAIN`), which do not change them.
    """

    def __init__(self, plain: bool = False) -> None:
        self._plain = plain
        # The experiences are kept too: their ids could be used again for other objects.
        self._kept: dict[tuple[int, ...], tuple[tuple[DomainExperience, ...], int, Tensor]] = {}
        self._experiences: tuple[DomainExperience, ...] = ()
        self._version = 0
        self._batches: list[Tensor] = []
        self._position = 0

    def begin(self, encoder: DualEncoder, *experiences: DomainExperience) -> None:
        """Prepare for an experience, or for several together. All batches will come, and each time in the same order."""
        version = encoder.image_tower_version if self._plain else encoder.image_version
        self._experiences, self._version, self._batches, self._position = experiences, version, [], 0
        entry = self._kept.get(self._key)
        if entry is not None and entry[1] != version:
            del self._kept[self._key]

    def encode(self, encoder: DualEncoder, pixels: Tensor) -> Tensor:
        """Return the unit features [B, d] of the next batch."""
        entry = self._kept.get(self._key)
        if entry is None:
            raw = encoder.raw_images(pixels)
            self._batches.append(raw.detach())
        else:
            raw = entry[2][self._position : self._position + len(pixels)]
            self._position += len(pixels)
        return encoder.finish_images(raw)

    def end(self) -> None:
        """Keep the features after the last batch."""
        if self._batches and self._experiences:
            self._kept[self._key] = (self._experiences, self._version, torch.cat(self._batches))
        self._experiences, self._batches = (), []

    @property
    def active(self) -> bool:
        """True between `begin` and `end`."""
        return bool(self._experiences)

    @property
    def _key(self) -> tuple[int, ...]:
        return tuple(map(id, self._experiences))
