"""Images that are decoded at every access, for the scripts in this folder."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image


class Encoded(torch.utils.data.Dataset):
    """JPEG files in memory, of random pixels: every look at one decodes it, and is counted."""

    def __init__(self, count: int, classes: int, side: int, seed: int):
        random = np.random.default_rng(seed)
        self.targets, self.decoded = [i % classes for i in range(count)], 0
        self.files = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "JPEG")
            self.files.append(buffer.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        self.decoded += 1
        return Image.open(io.BytesIO(self.files[index])).convert("RGB"), self.targets[index]
