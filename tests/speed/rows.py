"""Time of the image tower by the number of images per pass: `python tests/speed/rows.py`.

Passes random pixels through the tiny model, without and with a gradient. The table shows milliseconds per image, the best of
several rounds, and whether the features are bit-exactly those of 256 images at once. The floor is the arithmetic at the rate of
one large matrix product.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

import models

IMAGES, ROUNDS, ROWS = 512, 5, (8, 16, 32, 64, 128, 256)


def best(function):
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    encoder = models.load("tiny")
    tower = encoder.clip.encode_image
    pixels = torch.randint(0, 256, (IMAGES, 3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pixels = encoder.normalise(pixels)

    def forward(rows):
        return torch.cat([tower(part) for part in pixels.split(rows)])

    def backward(rows):
        encoder.zero_grad()
        forward(rows).sum().backward()

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower(pixels[:16])
    square = torch.randn(1024, 1024)
    rate = 2 * 1024**3 / best(lambda: square @ square)
    floor = 1000 * counter.get_total_flops() / 16 / rate
    with torch.no_grad():
        whole = forward(256)
    table = Table(title=f"ms an image; floor {floor:.2f}; {torch.get_num_threads()} threads", box=None)
    for header in ("images at once", "no gradient", "same bits", "forward and backward"):
        table.add_column(header, justify="right")
    for rows in ROWS:
        with torch.no_grad():
            plain, same = best(lambda rows=rows: forward(rows)), torch.equal(forward(rows), whole)
        trained = best(lambda rows=rows: backward(rows))
        table.add_row(str(rows), f"{1000 * plain / IMAGES:.2f}", "yes" if same else "no", f"{1000 * trained / IMAGES:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
