"""Images per second and model FLOP utilisation of a ZSCL step: `python tests/speed/gpu.py`.

ViT-B/16 with random weights, 64 + 64 images a step, 13,000 sentences, 100 classes, in each precision of `--precision`; without
a GPU a small model in few steps, to show that the script runs. `exactness` is `fast`, or `plain`: the papers' way of
the same step, with the teacher's sentences and images in every step. The floor is the student's forward and backward pass of
the same images and prompts, and nothing else. Utilisation counts the operations of the student's forward and backward passes
(`torch.utils.flop_counter`), over time and the device's peak in that precision (dense, NVIDIA's data sheets; `--peak` for
others). Batches are prepared before, so that it is the step that is timed; `--loader` times augmentation and loading too.
`--profile` prints the operations that took most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import cycle, product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

import models
from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from harness.run import environment as machine
from models.encoder import DualEncoder
from models.loading.local_files import TINY
from reference_data import Reference
from strategies.zscl import ZSCL

# TFLOP/s, dense: matrix products in float32, TF32, bf16.
PEAKS = {
    "H100": (67, 495, 989), "H200": (67, 495, 989), "A100": (19.5, 156, 312), "L40S": (91.6, 183, 362),
    "L4": (30.3, 60, 121), "A10": (31.2, 62.5, 125), "RTX 4090": (82.6, 82.6, 165),
}  # fmt: skip
PRECISIONS = ("fp32", "tf32", "bf16")
HEADERS = (
    "precision", "exactness", "compiled", "ms a step", "floor ms", "images / s", "TFLOP / s", "of the peak", "peak memory MB"
)  # fmt: skip


class Timed(ZSCL):
    """Times the steps after a few that warm up; batches come from memory unless `loads`."""

    loads = False
    warm = 5

    def make_train_dataloader(self, **kwargs):
        super().make_train_dataloader(**kwargs)
        if not self.loads:
            batches = [batch for batch, _ in zip(self.dataloader, range(4), strict=False)]
            self.dataloader = _Prepared([[part.to(self.device) for part in batch] for batch in batches])

    def after_step(self, step):
        super().after_step(step)
        if step + 1 == self.warm:
            self.began = _now(self.device)

    def after_experience(self):
        self.took = _now(self.device) - self.began
        super().after_experience()


class _Prepared:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        # A list a step: Avalanche moves its parts in place.
        return ([*batch] for batch in cycle(self.batches))


def _now(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def encoder(on_gpu: bool) -> DualEncoder:
    torch.manual_seed(0)
    if on_gpu:
        return models.load("ViT-B-16", "random")
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(TINY / "bpe.txt.gz"))
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
    text = {"context_length": 77, "width": 64, "heads": 2, "layers": 2, "vocab_size": tokenizer.vocab_size}
    clip = open_clip.CLIP(embed_dim=64, vision_cfg=vision, text_cfg=text)
    return DualEncoder(clip, tokenizer, 64, [0.5] * 3, [0.27] * 3, name="small")


def arithmetic(of: DualEncoder, images: int, prompts: list[str]) -> float:
    """Floating-point operations of the student's forward and backward passes in a step."""
    pixels = torch.zeros(images, 3, of.image_size, of.image_size, dtype=torch.uint8, device=of.device)
    with FlopCounterMode(display=False) as counter:
        (of.encode_images(pixels).sum() + of.encode_texts(of.tokenize(prompts)).sum()).backward()
    of.zero_grad()
    return float(counter.get_total_flops())


def floor(of: DualEncoder, batch: int, prompts: list[str], steps: int) -> float:
    """Median seconds of the student's forward and backward pass of a step's images and prompts."""
    pixels = torch.randint(0, 256, (batch, 3, of.image_size, of.image_size), dtype=torch.uint8).to(of.device)
    tokens = of.tokenize(prompts)
    seconds = []
    for _ in range(steps):
        began = _now(of.device)
        (of.encode_images(pixels).sum() + of.encode_texts(tokens).sum()).backward()
        seconds.append(_now(of.device) - began)
        of.zero_grad()
    return statistics.median(seconds[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--sentences", type=int)
    parser.add_argument("--exactness", nargs="+", choices=("fast", "plain"), default=["fast", "plain"])
    parser.add_argument("--json", type=Path, help="write the rows to this file too")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS)
    parser.add_argument("--compile", action="store_true", help="torch.compile both towers' transformers too")
    parser.add_argument("--loader", action="store_true", help="time augmentation and loading too")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device in the precisions asked for")
    a = parser.parse_args()
    device = machine.device_of(a.device)
    on_gpu = device.type == "cuda"
    batch, steps = a.batch or (64 if on_gpu else 8), a.steps or (60 if on_gpu else 12)
    sentences, found = a.sentences or (13_000 if on_gpu else 50), []
    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    console = Console(width=140)
    table = Table(
        title=f"{name}, torch {torch.__version__}, {'ViT-B/16' if on_gpu else 'a small model'}, {batch} + {batch}", box=None
    )
    for header in HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    Timed.loads = a.loader
    for precision in a.precision or (PRECISIONS if on_gpu else ("fp32", "bf16")):
        machine.set_precision(precision, device)
        for exactness, compiled in product(a.exactness, (False, True) if a.compile else (False,)):
            of = encoder(on_gpu)
            size, generator = of.image_size, torch.Generator().manual_seed(0)
            pixels = torch.randint(0, 256, (4 * batch, 3, size, size), generator=generator, dtype=torch.uint8)
            images = TensorImages(pixels, [i % a.classes for i in range(len(pixels))])
            prompts = [f"thing {i}" for i in range(a.classes)]
            domain = Domain("noise", prompts, ["a photo of a {}."], images, images, images)
            stream = scenario([domain], preprocess=of.preprocess)
            reference = Reference(pixels, [f"a picture of the thing {i}." for i in range(sentences)])
            taken = steps if exactness == "fast" else max(3, steps // 6)
            options = ZSCL.Options(
                iterations=Timed.warm + taken, batch_size=batch, reference_batch=batch, lr=1e-5, exactness=exactness
            )
            strategy = Timed(encoder=of, options=options, reference=reference, device=device)
            operations = arithmetic(of, 2 * batch, domain.prompts(0))
            of.precision = "bf16" if precision == "bf16" else "fp32"
            if compiled:
                for block in (of.clip.visual.transformer, of.clip.transformer):
                    block.compile()
            least = floor(of, 2 * batch, domain.prompts(0), 3 + steps // 3)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(device)
            strategy.train(stream.train_stream[0], eval_streams=[])
            each = strategy.took / taken
            rate = operations / each / 1e12
            known = next((peaks[PRECISIONS.index(precision)] for key, peaks in PEAKS.items() if key in name), None)
            peak = a.peak or known
            row = (
                precision, exactness, "yes" if compiled else "no", f"{1000 * each:.1f}", f"{1000 * least:.1f}",
                f"{2 * batch / each:,.0f}", f"{rate:.2f}", "?" if peak is None else f"{100 * rate / peak:.1f} %",
                f"{torch.cuda.max_memory_allocated(device) / 1e6:,.0f}" if on_gpu else "?",
            )  # fmt: skip
            table.add_row(*row)
            found.append(dict(zip(HEADERS, row, strict=True)))
            if a.json is not None:
                record = {"device": name, "torch": torch.__version__, "batch": batch, "sentences": sentences, "rows": found}
                a.json.write_text(json.dumps(record, indent=1) + "\n")
            if a.profile and exactness == "fast":
                with torch.profiler.profile() as profile:
                    strategy.train(stream.train_stream[0], eval_streams=[])
                by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
                console.print(profile.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=60))
            del strategy, of
    console.print(table)
    if not on_gpu:
        console.print("no GPU here: these figures say only that the script runs")


if __name__ == "__main__":
    main()
