"""Images per second with and without the cache of decoded images: `python tests/speed/loading.py [--folder DIR]`.

    loop            decode and transform, one image after the other in one thread
    processes       the same in a DataLoader whose worker processes start for each pass, as in an evaluation
    threads         the same in the threads that build the cache, without keeping the result
    build           the first pass of the cache: threads, checksum, disk
    open            the work of a later run before its first batch: sizes and times of the images, checksum of a small file, map
    from disk       open, and batches through the map, with the file dropped from memory first (if the system can)
    warm            batches through the map, copied, with the file in memory
    stacked         the same image by image, stacked to a batch, as in a DataLoader without workers

Without --folder the images are random crops of scikit-image's photographs, saved as JPEG of 500 x 375. Everything runs in one
process, interleaved. The table shows medians of the rounds, and the fastest round and the least processor time, because other
programs may disturb. All ways must give the same pixels. Nothing else is asserted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from benchmarks.data import pixels
from benchmarks.data.formats import EXTENSIONS
from benchmarks.data.images import ImageFiles
from models.registry import UserError
from models.transforms import evaluation_transform

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
WIDTH, HEIGHT = 500, 375


class Transformed(Dataset):
    """A dataset's images after the transform."""

    def __init__(self, dataset, preprocess):
        self.dataset, self.transform = dataset, evaluation_transform(preprocess)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.transform(self.dataset[index][0])


def photographs(folder, n, size=(WIDTH, HEIGHT), quality=90, grain=0):
    """N random crops, at least half as wide as the photograph, as JPEG files (4:2:0). Grain makes larger files."""
    package = Path(importlib.util.find_spec("skimage").origin).parent / "data"
    sources = [Image.open(package / name).convert("RGB") for name in PHOTOGRAPHS]
    generator, paths = np.random.default_rng(0), []
    for i in range(n):
        source = sources[i % len(sources)]
        widest = min(source.width, source.height * size[0] / size[1])
        width = generator.uniform(0.5, 1) * widest
        height = width * size[1] / size[0]
        left, top = generator.uniform(0, source.width - width), generator.uniform(0, source.height - height)
        crop = source.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        if grain:
            grained = np.asarray(crop) + generator.normal(0, grain, (size[1], size[0], 1))
            crop = Image.fromarray(grained.clip(0, 255).astype(np.uint8))
        paths.append(folder / f"{i}.jpg")
        crop.save(paths[-1], quality=quality, subsampling="4:2:0")
    return paths


class Loading:
    """The ways to read every image of a dataset once, as batches uint8 [B, 3, S, S]."""

    def __init__(self, dataset, size, batch, workers, folder):
        self.dataset, self.size, self.batch, self.workers, self.folder = dataset, size, batch, workers, folder
        self.items = Transformed(dataset, size)
        self.starts = range(0, len(dataset), batch)
        self.found = None

    def open(self):
        self.found = pixels.cached(self.dataset, self.size, label="speed", workers=self.workers, folder=self.folder)
        if self.found is self.dataset:
            sys.exit("The images cannot be cached here: too little room on the disk.")
        return []

    def forget(self):
        self.found = None
        pixels.clear(folder=self.folder)

    def drop(self):
        """Out of memory; a map that is still open would keep its pages."""
        self.found = None
        for item in pixels.usage(self.folder):
            with item.path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def loop(self):
        return [torch.stack([self.items[i] for i in self.indices(start)]) for start in self.starts]

    def processes(self):
        return list(DataLoader(self.items, self.batch, num_workers=self.workers))

    def threads(self):
        return [torch.from_numpy(block) for block in pixels.decoded(self.dataset, self.size, self.workers)]

    def warm(self):
        return [self.found.images[start : start + self.batch].clone() for start in self.starts]

    def stacked(self):
        return [torch.stack([self.found[i][0] for i in self.indices(start)]) for start in self.starts]

    def from_disk(self):
        self.open()
        return self.warm()

    def indices(self, start):
        return range(start, min(start + self.batch, len(self.dataset)))

    def ways(self):
        """Name -> (what is done before the clock starts, what is timed)."""
        nothing = lambda: None  # noqa: E731
        ways = {
            "loop": (nothing, self.loop),
            "processes": (nothing, self.processes),
            "threads": (nothing, self.threads),
            "build": (self.forget, self.open),
            "open": (nothing, self.open),
            "from disk": (self.drop, self.from_disk),
            "warm": (self.open, self.warm),
            "stacked": (self.open, self.stacked),
        }
        if not hasattr(os, "posix_fadvise"):
            del ways["from disk"]
        return ways


def processor_seconds():
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="images of yours, in it or below it, instead of the photographs")
    parser.add_argument("--images", type=int, default=400, help="photographs to make, or at most to take of --folder")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's, for stacking and copying")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)

    with tempfile.TemporaryDirectory() as folder:
        if a.folder is None:
            paths = photographs(Path(folder), a.images)
        else:
            paths = sorted(p for p in a.folder.rglob("*") if p.suffix.lower() in EXTENSIONS)[: a.images]
            if not paths:
                parser.error(f"no images in {a.folder}")
        loading = Loading(ImageFiles(paths, [0] * len(paths)), a.size, a.batch, a.workers, Path(folder) / "cache")
        try:
            expected = torch.cat(loading.loop())
        except UserError as error:
            sys.exit(str(error))
        seconds: dict[str, list[float]] = {name: [] for name in loading.ways()}
        busy: dict[str, list[float]] = {name: [] for name in seconds}
        for _ in range(a.rounds):
            for name, (prepare, run) in loading.ways().items():
                prepare()
                start, start_busy = time.perf_counter(), processor_seconds()
                batches = run()
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(processor_seconds() - start_busy)
                assert torch.equal(torch.cat(batches) if batches else loading.found.images, expected), name

    n = len(paths)
    title = f"{n} images to {a.size} pixels, batches of {a.batch}, {a.workers} workers, torch on {a.threads}, {a.rounds} rounds"
    table = Table(title=title)
    for header in ("way", "median s", "images / s", "best images / s", "times loop", "processor s"):
        table.add_column(header, justify="left" if header == "way" else "right")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        rates = (f"{n / value:.0f}", f"{n / min(seconds[name]):.0f}") if name != "open" else ("", "")
        ratio = f"{median['loop'] / value:.2f}" if name != "open" else ""
        table.add_row(name, f"{value:.4f}", *rates, ratio, f"{min(busy[name]):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
