"""Embed images and measure IIMM on a device: `python tests/gpu/embedding.py`.

ViT-B/16 with random weights embeds images that are on the device already, for a few seconds per precision. The time of a
million images is extrapolated from that. IIMM of a million features of width 512 in a thousand classes is measured whole, with
the sums on the processor (as in a run) and on the device.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from results import Results
from torch.nn.functional import normalize

import models
from harness.run import environment
from metrics.iimm import IIMM, IIMMAccumulator
from models.clock import now

MILLION = 1_000_000
TOLERANCE = 1e-10
"""Largest difference between IIMM of sums on the device and of sums on the processor, both in float64."""


def rate(encoder: models.DualEncoder, batch: int, seconds: float) -> tuple[float, int]:
    """Return images per second of `encode_images`, and how many were embedded in the measured seconds."""
    device, size = encoder.device, encoder.image_size
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    with torch.inference_mode():
        for _ in range(2):
            encoder.encode_images(pixels)
        began, images = now(device), 0
        while (took := now(device) - began) < seconds:
            # Several batches per look at the clock, so that the device does not wait for it.
            for _ in range(4):
                encoder.encode_images(pixels)
            images += 4 * batch
    return images / took, images


def measured_iimm(features: torch.Tensor, labels: torch.Tensor, texts: torch.Tensor, sums_on: str) -> tuple[IIMM, float]:
    """Return IIMM with its sums on a device, and the seconds that it took."""
    began, accumulator = now(features.device), IIMMAccumulator(sums_on)
    for x, y in zip(features.split(65_536), labels.split(65_536), strict=True):
        accumulator.update(x, y)
    return accumulator.result(texts), now(features.device) - began


def main() -> None:
    """Measure, and compare both ways of IIMM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="the tiny model, few features")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results, device = Results(asked.json), environment.device_of("cpu" if asked.small else asked.device)
    torch.manual_seed(0)
    encoder = models.load("tiny") if asked.small else models.load("ViT-B-16", "random")
    encoder = encoder.to(device).eval()
    batch, seconds = (16, 1.0) if asked.small else (512, 4.0)
    for precision in ("fp32", "bf16") if device.type == "cpu" else ("fp32", "tf32", "bf16"):
        environment.set_precision(precision, device)
        encoder.precision = "bf16" if precision == "bf16" else "fp32"
        per_second, images = rate(encoder, batch, seconds)
        results.figure(
            f"images per second, {precision}", per_second, "1/s", f"measured on {images} images in batches of {batch}"
        )
        minutes = MILLION / per_second / 60
        results.figure(f"a million images, {precision}", minutes, "minutes", f"extrapolated from {images} images")
    environment.set_precision("fp32", device)
    count, width, classes = (20_000, 64, 50) if asked.small else (MILLION, 512, 1000)
    features = normalize(torch.randn(count, width, device=device) + 0.1, dim=1)
    labels = torch.randint(classes, (count,), device=device)
    texts = normalize(torch.randn(classes, width, device=device), dim=1)
    measured_iimm(features[:1000], labels[:1000], texts, str(device))
    there, seconds_there = measured_iimm(features, labels, texts, str(device))
    here, seconds_here = measured_iimm(features, labels, texts, "cpu")
    results.figure(f"IIMM of {count:,} features, sums on the processor", seconds_here, "s", "measured")
    results.figure(f"IIMM of {count:,} features, sums on the device", seconds_there, "s", "measured")
    difference = max(abs(a - b) for a, b in zip(here, there, strict=True))
    results.check(
        "IIMM on the device equals that on the processor", difference <= TOLERANCE, difference=difference, limit=TOLERANCE
    )
    raise SystemExit(min(100, results.failed))


if __name__ == "__main__":
    main()
