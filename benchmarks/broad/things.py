"""Icons of everyday objects as things whose kind does not matter for a task."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from benchmarks.mini import concepts, iconfonts, icons
from benchmarks.mini.render import SIZE

LEAST_COVERED = 0.25
MOST_ALIKE = 0.7
"""Largest correlation of an icon and the same icon turned by quarters, if its orientation is to be recognised."""


@cache
def object_masks(families: tuple[str, ...] = iconfonts.MAIN_FAMILIES) -> tuple[np.ndarray, ...]:
    """Return the masks, uint8 [64, 64], of the mini domain `objects` whose ink covers at least a quarter of the frame."""
    masks = [mask for name in concepts.OBJECTS for family in icons.drawings("objects", name, families) for mask in family]
    return tuple(mask for mask in masks if mask.mean() / 255 >= LEAST_COVERED)


@cache
def directed_masks(families: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Return the masks of `object_masks` that differ from themselves after each turn by quarters."""
    masks = object_masks(families)
    unturned = iconfonts.signatures(np.stack(masks))
    likest = np.max(
        [(unturned * iconfonts.signatures(np.stack([np.rot90(mask, k) for mask in masks]))).sum(1) for k in (1, 2, 3)], axis=0
    )
    return tuple(mask for mask, correlation in zip(masks, likest, strict=True) if correlation < MOST_ALIKE)


def icon_alpha(rng: np.random.Generator, x: float, y: float, radius: float) -> np.ndarray:
    """Return a random icon at (x, y) as an alpha [48, 48]. Its longer side is 2 x radius."""
    masks = object_masks()
    mask = masks[rng.integers(len(masks))]
    factor = mask.shape[0] * iconfonts.DRAWING_SIZE / iconfonts.MASK_SIZE / (2 * radius) / 2
    half = mask.shape[0] / 2
    moved = Image.fromarray(mask).transform(
        (2 * SIZE, 2 * SIZE),
        Image.Transform.AFFINE,
        (factor, 0, half - 2 * x * factor, 0, factor, half - 2 * y * factor),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved.reduce(2), dtype=np.float32) / 255
