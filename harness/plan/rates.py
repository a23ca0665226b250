"""Seconds per unit of work on this device: tower passes, updates, evaluation, decoding, writing."""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from avalanche.benchmarks import CLScenario

from harness.plan.ledger import IMAGES, TEXTS, TRAINED_IMAGES, TRAINED_TEXTS, Ledger
from harness.plan.updates import Timed
from models.clock import now
from models.modes import evaluating
from models.transforms import evaluation_transform
from strategies.engine.batches import in_memory
from strategies.engine.strategy import Strategy

BACKWARD = 3.0
"""A forward and backward pass in forward passes."""
DECODED = 24
"""Images that are decoded for a measurement."""
WRITTEN = 16 * 2**20
"""Bytes that are written for a measurement."""
DECODING = 1 / 263
"""Seconds to decode and resize a photograph on one core if there is no image to measure with: `loading` in speed.csv."""


class Rates(NamedTuple):
    """Seconds per unit.

    Attributes:
        image: an image through its tower without gradients, in an evaluation batch.
        text: a text through its tower without gradients, in a head of one task.
        fixed: an update without its passes, such as the optimiser's work.
        share: seconds of an update per second of its passes at `image` and `text`, where a backward pass counts twice.
        tested: a test image without its tower: the loader, Avalanche's callbacks, the metrics.
        test_set: a test set, whatever its size.
        decode: an image from its file, on one core.
        written: a byte of a checkpoint, with its digest.
        decode_measured: whether `decode` was measured on this machine with images of the run.
    """

    image: float
    text: float
    fixed: float
    share: float
    tested: float
    test_set: float
    decode: float
    written: float
    decode_measured: bool

    def passes(self, counts: Mapping[str, float]) -> float:
        """Return the seconds of tower passes, by kind."""
        return self.image * (counts.get(IMAGES, 0) + BACKWARD * counts.get(TRAINED_IMAGES, 0)) + self.text * (
            counts.get(TEXTS, 0) + BACKWARD * counts.get(TRAINED_TEXTS, 0)
        )

    def update(self, counts: Mapping[str, float]) -> float:
        """Return the seconds of an update with these passes."""
        return self.fixed + self.share * self.passes(counts)


def measure_rates(
    strategy: Strategy, stream: CLScenario, real: CLScenario, steps: Sequence[Timed], ledger: Ledger, timed: int, folder: Path
) -> Rates:
    """Measure on the strategy of a counted run.

    Args:
        strategy: the strategy after the last task.
        stream: the stand-in scenario.
        real: the scenario with the images, some of which are decoded.
        steps: timed updates.
        ledger: counts nothing meanwhile.
        timed: number of the test set with more images than the others.
        folder: an existing folder on the disk of the checkpoints.
    """
    encoder, device = strategy.encoder, strategy.device
    tests = [*stream.streams["test"], *stream.streams["heldout"]]
    with ledger.uncounted():
        image, text = tower_rates(strategy, [experience.domain for experience in tests])
        passes = Rates(image, text, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, False)
        fixed, share = line([(passes.passes(step.counts), step.seconds) for step in steps])
        tested, test_set = evaluation_rates(strategy, tests, timed, ledger, passes, device)
        decode = decoding_rate(real, encoder.preprocess)
    return Rates(image, text, fixed, share, tested, test_set, decode or DECODING, writing_rate(folder), decode is not None)


def tower_rates(strategy: Strategy, domains: Sequence[Any]) -> tuple[float, float]:
    """Return the seconds of an image and of a text without gradients. Texts are those of a few tasks' first templates."""
    encoder, size = strategy.encoder, strategy.encoder.image_size
    pixels = torch.zeros(min(256, strategy.eval_mb_size), 3, size, size, dtype=torch.uint8, device=strategy.device)
    with evaluating(encoder), torch.no_grad():
        image = repeated(lambda: encoder.encode_images(pixels), strategy.device) / len(pixels)
        texts, total = 0, 0.0
        for domain in domains[:: max(1, len(domains) // 4)]:
            tokens = encoder.reader.rows(domain.templates[0], domain.classnames).to(strategy.device)
            total += repeated(partial(encoder.encode_texts, tokens), strategy.device, 0.2)
            texts += len(tokens)
    return image, total / texts


def evaluation_rates(
    strategy: Strategy, tests: Sequence[Any], timed: int, ledger: Ledger, passes: Rates, device: torch.device
) -> tuple[float, float]:
    """Return the seconds of a test image and of a test set, without tower passes.

    Two evaluations are timed, of all small test sets and of these with the larger one. Under a protocol in which classes of
    several tasks compete, each has the pass in mixed batches.
    """
    small = [test for test in tests if test.task_label != timed] or list(tests)

    def cost(experiences: Sequence[Any]) -> tuple[int, float]:
        strategy.encoder.touch_images()
        strategy.eval(experiences)
        before = dict(ledger.rows)
        strategy.encoder.touch_images()
        began = time.perf_counter()
        strategy.eval(experiences)
        seconds = now(device) - began
        work = {kind: n - before.get(kind, 0) for kind, n in ledger.rows.items()}
        return sum(len(e.dataset) for e in experiences), seconds - passes.passes(work)

    (few, first), (many, second) = cost(small), cost(tests)
    scale = len(tests) / len(small)
    if abs(many - few * scale) < 1:  # as many images in each set: the two cannot be told apart
        return max(0.0, first / few), 0.0
    tested = max(0.0, (second - first * scale) / (many - few * scale))
    return tested, max(0.0, (first - few * tested) / len(small))


def decoding_rate(real: CLScenario, preprocess: Any) -> float | None:
    """Return the seconds to decode an image of the run on one core, as a mean over its test sets; None without images."""
    sets = [e.domain.train or e.domain.test for name in ("test", "heldout") for e in real.streams[name]]
    files = [images for images in sets if not in_memory(images) and len(images)]
    transform, seconds, count = evaluation_transform(preprocess), 0.0, 0
    for images in files:
        number = min(len(images), max(2, DECODED // len(files)))
        try:
            began = time.perf_counter()
            for i in range(number):
                transform(images[i * len(images) // number][0])
        except Exception:  # missing or damaged files, which the run will report
            continue
        seconds, count = seconds + time.perf_counter() - began, count + number
    return seconds / count if count else None


def writing_rate(folder: Path) -> float:
    """Return the seconds to write a byte to a file and to flush it, and to compute its SHA-256."""
    content = os.urandom(WRITTEN)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        hashlib.sha256(content).hexdigest()
        return (time.perf_counter() - began) / WRITTEN


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the line seconds = fixed + share * passes through timed updates, both at least 0; (0, 1) without any."""
    if not points:
        return 0.0, 1.0
    groups: dict[float, list[float]] = {}
    for passes, seconds in points:
        groups.setdefault(round(passes, 9), []).append(seconds)
    medians = sorted((passes, statistics.median(seconds)) for passes, seconds in groups.items())
    (low, first), (high, last) = medians[0], medians[-1]
    if len(medians) > 2:
        x, y = np.array(medians).T
        share, fixed = np.polyfit(x, y, 1)
    elif high > low:
        share = (last - first) / (high - low)
        fixed = first - share * low
    else:
        share, fixed = 0.0, first
    if share < 0 or fixed < 0:
        total = sum(passes for passes, _ in medians)
        return 0.0, sum(seconds for _, seconds in medians) / total if total else 1.0
    return float(fixed), float(share)


def repeated(run: Callable[[], Any], device: torch.device, seconds: float = 1.0, most: int = 20) -> float:
    """Return the median time of a call: one that is not timed, then at least two and at most `most` until time is over."""
    run()
    now(device)
    times: list[float] = []
    while len(times) < 2 or (sum(times) < seconds and len(times) < most):
        began = time.perf_counter()
        run()
        times.append(now(device) - began)
        if times[0] > seconds:
            break
    return statistics.median(times)
