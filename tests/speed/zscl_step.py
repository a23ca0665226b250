"""Time of a ZSCL step compared with the papers' protocol: `python tests/speed/zscl_step.py`.

Random CLIPs of several geometries, 64 + 64 random images, class names of several words. Four ways of the same step:

    plain     exactness=plain: in each step the teacher's sentences at full context and its images, prompts at the full
              context, reference images in a separate pass, loops over tensors
    captions  the same with the sentences computed once, as a sensible port would do: the fair peer
    ours      exactness=fast
    floor     the student's forward and backward of the same images, and of the prompts at their true length, nothing else

All but `ours` attend through `torch.nn.MultiheadAttention`, which the papers' models use. `--freed-memory system` leaves the C
library's memory settings (`models.memory`) unchanged. Otherwise all four ways have the memory settings of a run.

Measured in one process, interleaved; medians, of few steps for `plain` with many sentences. Counted: multiply-adds of matrix
products and convolutions of each way (`torch.utils.flop_counter`, as executed). Their ratio is the ratio that arithmetic
predicts. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from models.attention import SelfAttention
from models.encoder import DualEncoder
from models.loading.local_files import TINY
from models.memory import keep_freed_memory
from reference_data import Reference
from strategies.engine import strategy as base
from strategies.zscl import ZSCL

SIZE, BATCH = 224, 64


class Geometry(NamedTuple):
    """Towers of a CLIP, and whether it has OpenAI's vocabulary and activation."""

    patch: int
    image: tuple[int, int, int]
    """Width, layers, width of a head."""
    text: tuple[int, int, int]
    """Width, layers, heads."""
    openai: bool = False


GEOMETRIES = {
    "proportion": Geometry(16, (96, 2, 32), (60, 3, 3)),  # ViT-B/16's proportion of image to text arithmetic
    "quickgelu": Geometry(16, (128, 4, 64), (64, 7, 1), openai=True),
    "patch32": Geometry(32, (192, 4, 64), (128, 4, 2), openai=True),
    "wide": Geometry(16, (256, 2, 64), (128, 2, 2)),
}
WORDS = (
    "amber",
    "silver",
    "small",
    "large",
    "old",
    "young",
    "striped",
    "spotted",
    "northern",
    "southern",
    "common",
    "wild",
    "grey",
)


class Timed(ZSCL):
    """Notes the time at the end of every step; `stop` ends the training after that many."""

    def before_experience(self):
        super().before_experience()
        self.times = [time.perf_counter()]

    def after_step(self, step):
        super().after_step(step)
        self.times.append(time.perf_counter())


class Captions(Timed):
    """The plain protocol, but for the teacher's sentences."""

    def _texts_now(self, chunk=512):
        if not hasattr(self, "_known_texts"):
            self._known_texts = super()._texts_now(chunk)
        return self._known_texts


def encoder(geometry: Geometry) -> DualEncoder:
    """A random model that attends as `ours` does."""
    tokenizer = open_clip.SimpleTokenizer() if geometry.openai else open_clip.SimpleTokenizer(bpe_path=str(TINY / "bpe.txt.gz"))
    image, text = geometry.image, geometry.text
    vision = {"image_size": SIZE, "patch_size": geometry.patch, "width": image[0], "layers": image[1], "head_width": image[2]}
    language = {"context_length": 77, "width": text[0], "layers": text[1], "heads": text[2], "vocab_size": tokenizer.vocab_size}
    torch.manual_seed(0)
    clip = open_clip.CLIP(embed_dim=128, vision_cfg=vision, text_cfg=language, quick_gelu=geometry.openai)
    return DualEncoder(clip, tokenizer, SIZE, [0.5] * 3, [0.27] * 3, name="random")


def of_torch(start: DualEncoder) -> DualEncoder:
    """A copy that attends through torch's module."""
    made = copy.deepcopy(start)
    for part in made.modules():
        if type(part) is SelfAttention:
            part.__class__ = nn.MultiheadAttention
    return made


def names(count: int) -> list[str]:
    """Class names of two or three words, all different."""
    n = len(WORDS)
    return [f"{WORDS[i % n]} {WORDS[(i // n) % n]} thing{' of the sea' * (i // (n * n))}" for i in range(count)]


def captions(count: int) -> list[str]:
    """Sentences of some ten words."""
    n = len(WORDS)
    return [f"a photograph of a {WORDS[i % n]} {WORDS[i // n % n]} bird on a branch, number {i}" for i in range(count)]


def task(classes: int):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2 * BATCH, 3, SIZE, SIZE), generator=generator).to(torch.uint8)
    images = TensorImages(pixels, [i % classes for i in range(len(pixels))])
    domain = Domain("noise", names(classes), ["a photo of a {}, a type of animal."], images, images, images)
    return pixels, scenario([domain], preprocess=SIZE).train_stream[0]


def steps(way, start, experience, reference, count, exactness):
    """A strategy after so many steps."""
    options = ZSCL.Options(iterations=count, batch_size=BATCH, reference_batch=BATCH, average_every=100, exactness=exactness)
    strategy = way(encoder=copy.deepcopy(start), options=options, reference=reference)
    strategy.train(experience, eval_streams=[])
    return strategy


def floor(student, pixels, tokens, count):
    """Seconds of the student's bare forward and backward."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        student.zero_grad()
        (student.encode_images(pixels).sum() + student.encode_texts(tokens).sum()).backward()
        times.append(time.perf_counter() - start)
    return times


def counted(function) -> float:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2


def arithmetic(start, pixels, experience, sentences):
    """Multiply-adds of a step of each way, put together from passes that are counted once each."""
    prompts = start.tokenize(experience.domain.prompts(0))
    tokens = start.tokenize(captions(512))
    student = copy.deepcopy(start).train()
    plain = copy.deepcopy(student)
    plain.cuts_texts = False
    with torch.no_grad():
        texts = counted(lambda: plain.encode_texts(tokens)) * sentences / len(tokens)
        teacher = counted(lambda: plain.encode_images(pixels[:BATCH]))
    with torch.enable_grad():
        both = counted(lambda: floor(student, pixels[: 2 * BATCH], prompts, 1))
        full = counted(lambda: floor(plain, pixels[: 2 * BATCH], prompts, 1))
    d = student.feature_dim
    # Both directions of Z: two products forward, of the student's one more backward.
    logits = 3 * BATCH * sentences * d
    return {"plain": full + texts + teacher + logits, "captions": full + teacher + logits, "ours": both + logits, "floor": both}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", type=int, nargs="+", default=[1000, 4000, 13000])
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 397])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="proportion")
    parser.add_argument("--no-plain", action="store_true", help="leave out the plain way, which takes longest")
    parser.add_argument("--freed-memory", choices=("kept", "system"), default="kept")
    a = parser.parse_args()
    if a.freed_memory == "system":
        base.keep_freed_memory = lambda: None
    else:
        keep_freed_memory()
    start = encoder(GEOMETRIES[a.geometry])
    slow = of_torch(start)
    image, text = torch.zeros(1, 3, SIZE, SIZE), start.tokenize(["one"])
    with torch.no_grad():
        per_image, per_text = counted(lambda: start.encode_images(image)), counted(lambda: start.encode_texts_plain(text))
    console = Console(width=150)
    console.print(
        f"an image {per_image / 1e6:.1f}, a text {per_text / 1e6:.1f} million multiply-adds, ratio {per_image / per_text:.2f} "
        f"(ViT-B/16: 17.56 and 2.98 thousand million, 5.89); {torch.get_num_threads()} threads"
    )
    for classes in a.classes:
        title = f"{a.geometry}, {classes} classes, batch {BATCH} + {BATCH}, freed memory {a.freed_memory}"
        table = Table(title=f"{title}; ms a step, and ratios measured / by arithmetic", box=None)
        for header in ("sentences", "plain", "captions", "ours", "floor", "plain/ours", "captions/ours", "ours/floor"):
            table.add_column(header, justify="right", no_wrap=True)
        pixels, experience = task(classes)
        tokens = start.tokenize(experience.domain.prompts(0))
        for sentences in a.sentences if classes == a.classes[0] else a.sentences[-1:]:
            reference = Reference(pixels, captions(sentences))
            times = {"plain": [], "captions": [], "ours": [], "floor": []}
            for _ in range(a.rounds):
                few = min(a.steps, 3)  # with 13,000 sentences a plain step takes seconds
                ways = [
                    ("plain", Timed, slow, "plain", few),
                    ("captions", Captions, slow, "plain", a.steps),
                    ("ours", Timed, start, "fast", a.steps),
                ]
                for name, way, model, exactness, count in ways[a.no_plain :]:
                    each = steps(way, model, experience, reference, count, exactness).times
                    times[name] += [after - before for before, after in pairwise(each[1:])]  # the first one warms up
                student = copy.deepcopy(slow).train()
                times["floor"] += floor(student, pixels[: 2 * BATCH], tokens, a.steps)[1:]
            ms = {name: 1000 * statistics.median(each or [math.nan]) for name, each in times.items()}
            macs = arithmetic(start, pixels, experience, sentences)

            def ratio(one, other, ms=ms, macs=macs):
                return f"{ms[one] / ms[other]:.2f} / {macs[one] / macs[other]:.2f}"

            table.add_row(
                f"{sentences:,}", *(f"{ms[name]:,.0f}" for name in times),
                ratio("plain", "ours"), ratio("captions", "ours"), ratio("ours", "floor"),
            )  # fmt: skip
        console.print(table)


if __name__ == "__main__":
    main()
