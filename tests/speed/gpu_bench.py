"""The measurements of `tests/speed/gpu.py`: a model, its data, and a method per kind of row."""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

import open_clip
import torch
from recorders import Repeats
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

import models
from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from harness.run import environment as machine
from models import tuning
from models.clock import now
from models.compiled import compile_blocks
from models.encoder import DualEncoder
from models.graphs import REPEATS, CudaRecorder, TowerGraphs
from models.loading.local_files import TINY
from reference_data import Reference
from strategies.alpha_search import AnswerCounter, Question
from strategies.alpha_search import Path as AlphaPath
from strategies.engine.strategy import Strategy
from strategies.zscl import ZSCL

# TFLOP/s, dense: matrix products in float32, TF32, bf16.
PEAKS = {
    "H100": (67, 495, 989), "H200": (67, 495, 989), "A100": (19.5, 156, 312), "L40S": (91.6, 183, 362),
    "L4": (30.3, 60, 121), "A10": (31.2, 62.5, 125), "RTX 4090": (82.6, 82.6, 165),
}  # fmt: skip
PRECISIONS = ("fp32", "tf32", "bf16")
COMPILES = ("off", "graphs", "blocks", "both")
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaGraphLaunch")
WAITS = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
Row = dict[str, Any]


class Timed(ZSCL):
    """Times the steps after a few that warm up. Batches come from memory: images on the device, labels on the host."""

    warm = REPEATS + 4
    profiles = False
    took, kernels = 0.0, 0

    def make_train_dataloader(self, **kwargs):
        super().make_train_dataloader(**kwargs)
        batches = [batch for batch, _ in zip(self.dataloader, range(4), strict=False)]
        self.dataloader = _Prepared([[images.to(self.device), *others] for images, *others in batches])

    def after_step(self, step):
        super().after_step(step)
        if step + 1 == self.warm:
            self.began = now(self.device)
            if self.profiles:
                self.seen = profile()
                self.seen.__enter__()

    def after_experience(self):
        self.took = now(self.device) - self.began
        if self.profiles:
            self.seen.__exit__(None, None, None)
        super().after_experience()


class _Prepared:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        # A list a step: Avalanche moves its parts in place.
        return ([*batch] for batch in cycle(self.batches))


class Size(NamedTuple):
    """Sizes of the measurements."""

    batch: int
    classes: int
    sentences: int
    steps: int
    evaluated: tuple[int, ...]
    alphas: int


ON_GPU = Size(64, 100, 13_000, 20, (64, 128, 256, 512, 1024), 11)
SMALL = Size(4, 10, 20, 3, (8, 16), 3)


def encoder(on_gpu: bool) -> DualEncoder:
    """Return the model that is measured."""
    torch.manual_seed(0)
    if on_gpu:
        return models.load("ViT-B-16", "random")
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(TINY / "bpe.txt.gz"))
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32}
    text = {"context_length": 77, "width": 64, "heads": 2, "layers": 2, "vocab_size": tokenizer.vocab_size}
    clip = open_clip.CLIP(embed_dim=64, vision_cfg=vision, text_cfg=text)
    return DualEncoder(clip, tokenizer, 64, [0.5] * 3, [0.27] * 3, name="small")


class Bench:
    """The model, the data and the measurements. Each measurement returns the figures of a row."""

    def __init__(self, device: torch.device, size: Size, peak: float | None, backend: str):
        self.device, self.size, self.backend, self.on_gpu = device, size, backend, device.type == "cuda"
        self.name = torch.cuda.get_device_name(device) if self.on_gpu else "cpu"
        self.model = encoder(self.on_gpu).to(device).train()
        self.prompts = [f"a photo of a thing {i}." for i in range(size.classes)]
        side, generator = self.model.image_size, torch.Generator().manual_seed(0)
        self.pixels = torch.randint(0, 256, (4 * size.batch, 3, side, side), generator=generator, dtype=torch.uint8)
        self._peak, self.floors = peak, dict[str, float]()
        images, tokens = self.pixels[:2].to(device), self.model.tokenize(self.prompts)
        self.image_forward = self._operations(lambda: self.model.encode_images(images)) / 2
        image_both = self._operations(lambda: self.model.encode_images(images).sum().backward()) / 2
        texts_both = self._operations(lambda: self.model.encode_texts(tokens).sum().backward())
        self.step_operations = 2 * size.batch * image_both + texts_both
        self.model.zero_grad()

    @staticmethod
    def _operations(run: Callable[[], Any]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops())

    def fresh(self, precision: str, compiles: str = "off") -> DualEncoder:
        """Return a copy of the model, with the precision and the value of `compile`."""
        machine.set_precision(precision, self.device)
        of = copy.deepcopy(self.model)
        of.precision = "bf16" if precision == "bf16" else "fp32"
        if compiles in ("blocks", "both"):
            compile_blocks(of, self.backend)
        if compiles in ("graphs", "both"):
            of.graphs = TowerGraphs(CudaRecorder if self.on_gpu else Repeats)
        return of

    def rates(self, precision: str, operations: float, seconds: float) -> Row:
        """Return TFLOP/s and the share of the device's peak, in percent."""
        known = next((peaks[PRECISIONS.index(precision)] for key, peaks in PEAKS.items() if key in self.name), None)
        peak, rate = self._peak or known, operations / seconds / 1e12
        return {"tflops": round(rate, 3), "of_peak": None if peak is None else round(100 * rate / peak, 1)}

    def median(self, run: Callable[[], Any], repeats: int, warm: int = 3) -> float:
        """Return the median seconds of a call, each waited for."""
        seconds = []
        for _ in range(warm + repeats):
            began = now(self.device)
            run()
            seconds.append(now(self.device) - began)
        return statistics.median(seconds[warm:])

    def _floor_pass(self, of: DualEncoder) -> Callable[[], None]:
        pixels = self.pixels[: 2 * self.size.batch].to(self.device)
        tokens = of.tokenize(self.prompts)
        length = of.needed_length(tokens)
        return lambda: (of.encode_images(pixels).sum() + of.encode_texts(tokens, length).sum()).backward()

    def floor(self, precision: str, compiles: str) -> Row:
        """Measure the student's forward and backward pass."""
        of = self.fresh(precision, compiles if compiles != "whole graph" else "off")
        work = self._floor_pass(of)

        def run() -> None:
            of.zero_grad(set_to_none=True)
            work()

        measured = self._whole_graph(of, run, work) if compiles == "whole graph" else run
        seconds = self.median(measured, self.size.steps, warm=Timed.warm)
        if compiles == "off":
            self.floors[precision] = seconds
        rates = self.rates(precision, self.step_operations, seconds)
        kernels = self._launches(measured)
        return {"images": 2 * self.size.batch, "ms": 1000 * seconds, "kernels": kernels, **rates, **self._graph_notes(of)}

    def _whole_graph(self, of: DualEncoder, run: Callable[[], None], work: Callable[[], None]) -> Callable[[], None]:
        """Return the replay of a pass that is recorded as one graph, the making of its gradients included."""
        if not self.on_gpu:
            return run
        recorder = CudaRecorder()
        recorder.warm_up(run)
        of.zero_grad(set_to_none=True)

        def both() -> tuple[()]:
            work()
            return ()

        return recorder.record(both)[1]

    def step(self, precision: str, exactness: str, compiles: str, profiles: bool = False) -> tuple[Row, Timed]:
        """Measure a ZSCL step."""
        of, size = self.fresh(precision, compiles), self.size
        data = TensorImages(self.pixels, [i % size.classes for i in range(len(self.pixels))])
        domain = Domain("noise", [f"thing {i}" for i in range(size.classes)], ["a photo of a {}."], data, data, data)
        stream = scenario([domain], preprocess=of.preprocess).train_stream
        reference = Reference(self.pixels, [f"a picture of the thing {i}." for i in range(size.sentences)])
        # A step of the plain way takes seconds.
        many = size.steps // 2 if precision == "fp32" else size.steps
        warm, steps = (1, 2) if exactness == "plain" else (Timed.warm, 5 if profiles else many)
        options = ZSCL.Options(
            iterations=warm + steps, batch_size=size.batch, reference_batch=size.batch, lr=1e-5, exactness=exactness
        )
        strategy = Timed(encoder=of, options=options, reference=reference, device=self.device)
        strategy.profiles, strategy.warm = profiles, warm
        strategy.train(stream[0], eval_streams=[])
        seconds, images = strategy.took / steps, 2 * size.batch
        row = {"images": images, "ms": 1000 * seconds, "images_per_second": images / seconds}
        if precision in self.floors:
            row["of_floor"] = round(seconds / self.floors[precision], 3)
        losses = [record["loss"] for record in strategy.history]
        row |= {**self.rates(precision, self.step_operations, seconds), "last_loss": losses[-1], **self._graph_notes(of)}
        return row, strategy

    def profiled(self, precision: str, compiles: str) -> Row:
        """Profile a ZSCL step: kernels started, busy time of the device, the operations that take most."""
        row, strategy = self.step(precision, "fast", compiles, profiles=True)
        # Without the spans that torch marks on the device, such as a whole optimiser step.
        events = [e for e in strategy.seen.key_averages() if not e.key.startswith(("Optimizer.", "ProfilerStep"))]
        steps = 5
        on_device = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
        shown = on_device or list(events)

        def own(event: Any) -> float:
            return float(event.self_device_time_total if on_device else event.self_cpu_time_total)

        top = sorted(shown, key=own, reverse=True)[:10]
        busy = sum(map(own, shown)) / steps / 1000
        return {
            **{name: row[name] for name in ("images", "ms")},
            "kernels": sum(e.count for e in events if e.key in LAUNCHES) / steps,
            "busy_ms": busy,
            "waits": ", ".join(f"{e.key} {e.count / steps:g}" for e in events if e.key in WAITS or "Synchronize" in e.key),
            "top": [{"name": e.key[:120], "ms": own(e) / steps / 1000, "calls": e.count / steps} for e in top],
        }

    def evaluation(self, precision: str, compiles: str, images: int) -> Row:
        """Measure forward passes of images on the device."""
        of = self.fresh(precision, compiles).eval()
        pixels = self.pixels.repeat(-(-images // len(self.pixels)), 1, 1, 1)[:images].to(self.device)
        with torch.inference_mode():
            seconds = self.median(lambda: of.encode_images(pixels), max(3, self.size.steps // 2))
        rates = self.rates(precision, images * self.image_forward, seconds)
        return {"images": images, "ms": 1000 * seconds, "images_per_second": images / seconds, **rates}

    def _domain(self, images: int) -> Domain:
        pixels = self.pixels.repeat(-(-images // len(self.pixels)), 1, 1, 1)[:images]
        data = TensorImages(pixels, [i % self.size.classes for i in range(images)])
        return Domain("noise", [f"thing {i}" for i in range(self.size.classes)], ["a photo of a {}."], data, data, data)

    def cached(self, precision: str, batch: int) -> Row:
        """Measure the product's evaluation of images in memory."""
        of, images = self.fresh(precision), 8 * max(self.size.evaluated) // (1 if self.on_gpu else 8)
        stream = scenario([self._domain(images)], preprocess=of.preprocess).test_stream
        strategy = Strategy(encoder=of, device=self.device, eval_batch_size=batch)
        strategy.eval(stream)
        began = now(self.device)
        # Told that the weights have changed; otherwise nothing is computed again.
        of.touch()
        strategy.eval(stream)
        seconds = now(self.device) - began
        rates = self.rates(precision, images * self.image_forward, seconds)
        return {"images": batch, "ms": 1000 * seconds * batch / images, "images_per_second": images / seconds, **rates}

    def alpha_search(self, precision: str) -> Row:
        """Measure PAINT's search over all alphas on one validation split."""
        of, size = self.fresh(precision), self.size
        tuning.apply(of, "visual")
        theta, images = tuning.weights(of), max(size.evaluated)
        vector = {n: 1e-3 * torch.randn_like(t) for n, t in theta.items() if "visual" in n and t.is_floating_point()}
        path, points = AlphaPath(of, theta, [vector]), [(i / size.alphas,) for i in range(1, size.alphas + 1)]
        counter = AnswerCounter(of, {0: self._domain(images)})
        counter.count(path, points[:1], [Question(0)])
        began = now(self.device)
        counter.count(path, points, [Question(0)])
        seconds = now(self.device) - began
        passes = images * len(points)
        rates = self.rates(precision, passes * self.image_forward, seconds)
        return {"images": passes, "ms": 1000 * seconds, "images_per_second": passes / seconds, **rates}

    def kernel_start(self, count: int = 5000) -> Row:
        """Measure how long the host takes to start a kernel."""
        numbers = torch.zeros(10, device=self.device)
        for _ in range(100):
            numbers.add_(1)
        began = now(self.device)
        for _ in range(count):
            numbers.add_(1)
        return {"ms": 1000 * (time.perf_counter() - began) / count, "kernels": 1}

    def _launches(self, run: Callable[[], Any]) -> int | None:
        if not self.on_gpu:
            return None
        with profile() as seen:
            run()
            now(self.device)
        return sum(event.count for event in seen.key_averages() if event.key in LAUNCHES)

    @staticmethod
    def _graph_notes(of: DualEncoder) -> Row:
        """Return what became of the graphs; a failure to record is an error."""
        if of.graphs is None:
            return {}
        replayed = ", ".join(f"{tower} {count}" for tower, count in of.graphs.replayed.items())
        return {"replayed": replayed} | ({"error": of.graphs.failure} if of.graphs.failure else {})
