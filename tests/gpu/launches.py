"""The bound of a step in bf16, the device or the host that starts its kernels: `python tests/gpu/launches.py`.

ViT-B/16 with random weights and 100 prompts; without a GPU a small model, to show that the script runs. Measured are the
forward and backward pass of 128 images and the prompts as it is (the floor of `tests/speed/gpu.py`), replayed as one CUDA
graph, and with compiled blocks; the kernels that it and a whole ZSCL step start; and the evaluation of 128 images.

A replayed graph costs the host nothing, so it has the time of the device. The difference to the floor is the host's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))

import torch
from gpu import Timed, encoder
from torch.profiler import profile

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from harness.run import environment as machine
from models.encoder import DualEncoder
from reference_data import Reference

CLASSES = 100
KERNELS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx")


class Bench:
    """Encoder, images and prompts of the measurements."""

    def __init__(self, device: torch.device):
        self.device, self.on_gpu = device, device.type == "cuda"
        self.images = 128 if self.on_gpu else 8
        self.prompts = [f"a photo of a thing {i}." for i in range(CLASSES)]

    def fresh(self) -> DualEncoder:
        of = encoder(self.on_gpu).to(self.device).train()
        of.precision = "bf16"
        return of

    def floor(self, of: DualEncoder) -> Callable[[], None]:
        """Return the forward and backward pass, without the zeroing of gradients."""
        size = of.image_size
        pixels = torch.randint(0, 256, (self.images, 3, size, size), dtype=torch.uint8, device=self.device)
        tokens = of.tokenize(self.prompts)
        return lambda: (of.encode_images(pixels).sum() + of.encode_texts(tokens).sum()).backward()

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def median_ms(self, run: Callable[[], Any], repeats: int = 15, warm: int = 4) -> float:
        seconds = []
        for _ in range(warm + repeats):
            began = time.perf_counter()
            run()
            self.wait()
            seconds.append(time.perf_counter() - began)
        return 1000 * statistics.median(seconds[warm:])

    def launches(self, run: Callable[[], Any]) -> int:
        """Return the number of kernels that a call starts."""
        with profile() as seen:
            run()
            self.wait()
        return sum(event.count for event in seen.key_averages() if event.key in KERNELS)


def cleared(of: DualEncoder, run: Callable[[], None]) -> Callable[[], None]:
    """Return a pass that starts without gradients."""

    def both() -> None:
        of.zero_grad(set_to_none=True)
        run()

    return both


def enqueue_us(bench: Bench, count: int = 5000) -> float:
    """Return the microseconds that the host takes to start a kernel of ten numbers."""
    numbers = torch.zeros(10, device=bench.device)
    for _ in range(100):
        numbers.add_(1)
    bench.wait()
    began = time.perf_counter()
    for _ in range(count):
        numbers.add_(1)
    return 1e6 * (time.perf_counter() - began) / count


def replayed_ms(bench: Bench) -> float:
    """Return the time of the floor as one CUDA graph."""
    of = bench.fresh()
    run = bench.floor(of)
    # The number of positions is read from the tokens, which a capture cannot do.
    needed = of.needed_length(of.tokenize(bench.prompts))
    of.needed_length = lambda tokens: needed  # type: ignore[method-assign]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            cleared(of, run)()
    torch.cuda.current_stream().wait_stream(side)
    of.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return bench.median_ms(graph.replay)


def compiled_ms(bench: Bench, **options: Any) -> tuple[float, float]:
    """Return the time of the floor with every block compiled, and the seconds until the first pass was done."""
    began, of = time.perf_counter(), bench.fresh()
    for tower in (of.clip.visual.transformer, of.clip.transformer):
        for block in tower.resblocks:
            block.compile(**options)
    run = cleared(of, bench.floor(of))
    run()
    bench.wait()
    seconds = time.perf_counter() - began
    found = bench.median_ms(run)
    torch._dynamo.reset()
    return found, seconds


def zscl(bench: Bench, steps: int = 20) -> tuple[float, float]:
    """Return the milliseconds of a ZSCL step and the number of kernels that it starts."""
    of = bench.fresh()
    size, half = of.image_size, bench.images // 2
    pixels = torch.randint(0, 256, (2 * bench.images, 3, size, size), dtype=torch.uint8)
    images = TensorImages(pixels, [i % CLASSES for i in range(len(pixels))])
    domain = Domain("noise", bench.prompts, ["{}"], images, images, images)
    sentences = [f"a picture of the thing {i}." for i in range(13_000 if bench.on_gpu else 50)]
    options = Timed.Options(iterations=Timed.warm + steps, batch_size=half, reference_batch=half, lr=1e-5)
    stream = scenario([domain], preprocess=of.preprocess).train_stream
    strategy = Timed(encoder=of, options=options, reference=Reference(pixels, sentences), device=bench.device)
    strategy.train(stream[0], eval_streams=[])

    class Counted(Timed):
        def after_step(self, step: int) -> None:
            super().after_step(step)
            if step == 9:
                self.seen = profile()
                self.seen.__enter__()
            if step == 14:
                self.seen.__exit__(None, None, None)

    took = 1000 * strategy.took / steps
    again = Counted(encoder=bench.fresh(), options=options, reference=Reference(pixels, sentences), device=bench.device)
    again.train(stream[0], eval_streams=[])
    return took, sum(event.count for event in again.seen.key_averages() if event.key in KERNELS) / 5


def main() -> None:
    """Print the measurements, and write them with --json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled blocks")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    bench = Bench(machine.device_of(asked.device))
    machine.set_precision("bf16", bench.device)
    found: dict[str, float] = {"start of a kernel, microseconds": enqueue_us(bench)}
    of = bench.fresh()
    run = cleared(of, bench.floor(of))
    found["floor, ms"] = bench.median_ms(run)
    found["floor, kernels"] = bench.launches(run)
    pixels = torch.zeros(bench.images, 3, of.image_size, of.image_size, dtype=torch.uint8, device=bench.device)
    with torch.no_grad():
        found[f"evaluation of {bench.images} images, ms"] = bench.median_ms(lambda: of.eval().encode_images(pixels))
    found["ZSCL step, ms"], found["ZSCL step, kernels"] = zscl(bench)
    if bench.on_gpu:
        found["floor as one CUDA graph, ms"] = replayed_ms(bench)
    if not asked.no_compile:
        for name, options in (("compiled blocks", {}), ("compiled blocks with CUDA graphs", {"mode": "reduce-overhead"})):
            found[f"floor, {name}, ms"], found[f"{name}, seconds to compile"] = compiled_ms(bench, **options)
    name = torch.cuda.get_device_name(bench.device) if bench.on_gpu else "cpu"
    for what, value in found.items():
        print(f"{what:<55} {value:10.1f}")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"device": name, "torch": torch.__version__, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
