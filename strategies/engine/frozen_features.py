"""What a frozen image tower gives, kept from one evaluation to the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.encoder import DualEncoder


class KeptFeatures:
    """Raw image features [N, d] of evaluation images, by experience; 4 d bytes an image, on the encoder's device.

    For an image tower that does not train (adapters, probes, text tuning; no training at all): the same images give the same
    features after every task, so they pass through the tower once a run. Whatever writes to the tower in another way calls
    `DualEncoder.touch_images`, and they pass again. Features are kept batch by batch as they were computed: the values are
    those of the plain pass to the bit.
    """

    def __init__(self) -> None:
        # With the experience itself: an id alone could come back with another object.
        self._kept: dict[int, tuple[Any, int, Tensor]] = {}
        self._experience: Any = None
        self._version = 0
        self._fresh: list[Tensor] = []
        self._position = 0

    def begin(self, encoder: DualEncoder, experience: Any) -> None:
        """Before the first batch of an experience, which will come in order and whole."""
        self._experience, self._version, self._fresh, self._position = experience, encoder.image_version, [], 0
        kept = self._kept.get(id(experience))
        if kept is not None and kept[1] != encoder.image_version:
            del self._kept[id(experience)]

    def encode(self, encoder: DualEncoder, pixels: Tensor) -> Tensor:
        """Unit features [B, d] of the experience's next batch."""
        kept = self._kept.get(id(self._experience))
        if kept is None:
            raw = encoder.raw_images(pixels)
            self._fresh.append(raw.detach())
        else:
            raw = kept[2][self._position : self._position + len(pixels)]
            self._position += len(pixels)
        return encoder.finish_images(raw)

    def end(self) -> None:
        """After the last batch."""
        if self._fresh:
            self._kept[id(self._experience)] = (self._experience, self._version, torch.cat(self._fresh))
        self._experience, self._fresh = None, []
