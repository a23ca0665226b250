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
    """

    def __init__(self) -> None:
        # The experience is kept too: its id could be used again for another object.
        self._kept: dict[int, tuple[DomainExperience, int, Tensor]] = {}
        self._experience: DomainExperience | None = None
        self._version = 0
        self._batches: list[Tensor] = []
        self._position = 0

    def begin(self, encoder: DualEncoder, experience: DomainExperience) -> None:
        """Prepare for an experience, whose batches will come in order and completely."""
        self._experience, self._version, self._batches, self._position = experience, encoder.image_version, [], 0
        entry = self._kept.get(id(experience))
        if entry is not None and entry[1] != encoder.image_version:
            del self._kept[id(experience)]

    def encode(self, encoder: DualEncoder, pixels: Tensor) -> Tensor:
        """Return the unit features [B, d] of the experience's next batch."""
        entry = self._kept.get(id(self._experience))
        if entry is None:
            raw = encoder.raw_images(pixels)
            self._batches.append(raw.detach())
        else:
            raw = entry[2][self._position : self._position + len(pixels)]
            self._position += len(pixels)
        return encoder.finish_images(raw)

    def end(self) -> None:
        """Keep the features of the experience after its last batch."""
        if self._batches and self._experience is not None:
            self._kept[id(self._experience)] = (self._experience, self._version, torch.cat(self._batches))
        self._experience, self._batches = None, []
