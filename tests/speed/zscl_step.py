"""Time of a ZSCL step with and without its fast paths: `python tests/speed/zscl_step.py`.

Four ways of the same step, on random pixels of the tiny model's size:

    plain     teacher sentences at the full context and teacher images anew each step, prompts at the full context
    texts     teacher sentences cached
    teacher   teacher images cached too
    ours      prompts cut to their length too, reference images in the student's one pass

and the floor: the student's forward and backward of the same images and prompts, without loss terms, update or averaging.
All in one process, interleaved; medians. Nothing is asserted: it prints a table.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from rich.console import Console
from rich.table import Table

import models
from benchmarks.domain import Domain, TensorImages
from benchmarks.streams import scenario
from reference_data import Reference
from strategies.zscl import ZSCL, distillation_loss


class Timed(ZSCL):
    """Notes the time at the end of every step."""

    def before_experience(self):
        super().before_experience()
        self.times = [time.perf_counter()]

    def after_step(self, step):
        super().after_step(step)
        self.times.append(time.perf_counter())


class Plain(Timed):
    """The released code's way, with `cache_texts` and `cache_images` to give its parts back one by one."""

    cache_texts = False
    cache_images = False

    def before_run(self):
        super().before_run()
        self.teacher = copy.deepcopy(self.encoder).eval()

    def companion_images(self):
        self.pixels = super().companion_images()
        return None

    def compute_loss(self, batch):
        o, encoder = self.options, self.encoder
        with torch.no_grad():
            texts = self.teacher_texts
            if not self.cache_texts:
                tokens = self.teacher.tokenize(self.reference.sentences)
                texts = torch.cat([self.teacher.encode_texts_plain(t) for t in tokens.split(512)])
            images = self.teacher_images[self.reference_index]
            if not self.cache_images:
                images = self.teacher.encode_images(self.pixels)
        scale = encoder.clip.logit_scale.exp()
        student, teacher = scale * encoder.encode_images(self.pixels) @ texts.T, scale * images @ texts.T
        prompts = encoder.encode_texts_plain(encoder.tokenize(self.experience.domain.prompts(0)))
        loss = self._criterion(scale * encoder.encode_images(batch.images) @ prompts.T, batch.labels)
        loss = loss + o.image_loss * distillation_loss(student, teacher, o.temperature)
        loss = loss + o.text_loss * distillation_loss(student.T, teacher.T, o.temperature)
        return loss + o.l2 * sum(((p - a) ** 2).sum() for p, a in zip(self.trainable, self.anchor, strict=True))

    def forward(self):
        # The loss encodes for itself; the loop's own forward would be work twice.
        if self.is_training:
            self.companion_images()
            return None
        return super().forward()


class CachedTexts(Plain):
    cache_texts = True


class CachedTeacher(CachedTexts):
    cache_images = True


def floor(encoder, pixels, tokens, repeats):
    """Seconds of the student's bare forward and backward."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        encoder.zero_grad()
        (encoder.encode_images(pixels).sum() + encoder.encode_texts(tokens).sum()).backward()
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", type=int, default=1500)
    parser.add_argument("--classes", type=int, default=44)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    a = parser.parse_args()

    encoder = models.load("tiny")
    size, generator = encoder.image_size, torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (256, 3, size, size), generator=generator).to(torch.uint8)
    images = TensorImages(pixels, [i % a.classes for i in range(256)])
    domain = Domain("noise", [f"thing {i}" for i in range(a.classes)], ["a photo of a {}."], images, images, images)
    stream = scenario([domain], image_size=size)
    reference = Reference(pixels, [f"a picture of the thing {i}." for i in range(a.sentences)])
    options = ZSCL.Options(iterations=a.steps, batch_size=a.batch, reference_batch=a.batch, average_every=4, lr=1e-5)

    ways = {"plain": Plain, "texts": CachedTexts, "teacher": CachedTeacher, "ours": Timed}
    times: dict[str, list[float]] = {name: [] for name in (*ways, "floor")}
    for _ in range(a.rounds):
        for name, way in ways.items():
            strategy = way(encoder=copy.deepcopy(encoder), options=options, reference=reference)
            strategy.train(stream.train_stream[0], eval_streams=[])
            steps = [b - a for a, b in zip(strategy.times, strategy.times[1:], strict=False)]
            times[name] += steps[1:]  # the first one warms up
        student = copy.deepcopy(encoder).train()
        times["floor"] += floor(student, pixels[: 2 * a.batch], student.tokenize(domain.prompts(0)), a.steps)[1:]

    table = Table(
        title=f"{a.sentences} sentences, {a.classes} classes, batch {a.batch} + {a.batch}, {torch.get_num_threads()} threads"
    )
    for header in ("way", "ms a step", "plain / way", "way / floor"):
        table.add_column(header, justify="left" if header == "way" else "right")
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        table.add_row(name, f"{1000 * value:.1f}", f"{median['plain'] / value:.2f}", f"{value / median['floor']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
