"""Compute which number of processor cores keeps a GPU busy, from measured times of both (speed.csv and gpu_speed.csv)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tools.tables import Row, number

BATCH = 64
"""Task images per update. ZSCL's updates have as many reference images too, which are read from the cache."""
MEASURED = "ViT-B/16"
RESAMPLING = {"pillow": "ours, pillow", "torch": "ours, torch"}


class Tower(NamedTuple):
    """The size of an image tower."""

    layers: int
    width: int
    patch: int
    side: int = 224


TOWERS = {"ViT-B/32": Tower(12, 768, 32), MEASURED: Tower(12, 768, 16), "ViT-L/14": Tower(24, 1024, 14)}


def forward_gflop(tower: Tower) -> float:
    """Return the operations of an image's forward pass: 24 n w^2 + 4 n^2 w per layer of n tokens, and the patches."""
    patches = (tower.side // tower.patch) ** 2
    tokens = patches + 1
    layer = 24 * tokens * tower.width**2 + 4 * tokens**2 * tower.width
    return (tower.layers * layer + 2 * patches * 3 * tower.patch**2 * tower.width) / 1e9


def feeding_rows(speed: Sequence[Row], gpu: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: task images per second that each model takes, and the cores that prepare them.

    ZSCL's steps of ViT-B/16 with CUDA graphs are measured. Fine-tuning has half of the images of the fastest measured floor of
    that step, so half of its time. Times of other models are that of ViT-B/16 times the ratio of operations, which a GPU may
    not reach.
    """
    items = {
        row["case"]: float(row["value"])
        for row in speed
        if (row["measurement"], row["quantity"]) == ("input_items", "ImageNet")
    }
    steps = [row for row in gpu if row["kind"] == "step" and row["compile"] == "graphs" and row["precision"] != "fp32"]
    body = []
    for name, tower in TOWERS.items():
        ratio = forward_gflop(tower) / forward_gflop(TOWERS[MEASURED])
        for step in steps:
            floors = [float(r["ms"]) for r in gpu if (r["kind"], r["precision"]) == ("floor", step["precision"])]
            times = {"zscl": float(step["ms"]) * ratio, "finetune": min(floors) * ratio / 2}
            for method, ms in times.items():
                rate = BATCH / ms * 1e3
                cores = [math.ceil(rate * items[case] / 1e3) for case in RESAMPLING.values()]
                basis = "measured" if (name, method) == (MEASURED, "zscl") else "computed"
                body.append(
                    [name, f"`{method}`", step["precision"], f"{ms:.0f}", basis, number(f"{rate:.0f}"), *map(str, cores)]
                )
    headings = ["model", "method", "precision", "ms a step", "basis", "task images / s"]
    return [*headings, *(f"cores, {name}" for name in RESAMPLING)], body
