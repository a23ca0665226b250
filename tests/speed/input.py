"""Training images per second from JPEG files: `python tests/speed/input.py [--folder DIR]`.

    items     one training image on one core: ours, with each library that resizes, and plain torchvision (`ImageFolder` and
              open_clip's training transform); and the parts: decoding and resizing, with what else could decode or resize
    loader    batches of 64 through the product's loader, without and with worker processes
    shards    the bytes of the files, read in random order: single files or one tar file, in memory or dropped from it first

Without --folder the images are random crops of scikit-image's photographs with added grain, saved as JPEG of quality 95, 4:2:0,
about as large as ImageNet's, Food's, SUN397's and Aircraft's files. Everything runs in one process, interleaved. The tables
show medians of the rounds; times of items and shards are processor time, because other programs may disturb. Ours and
torchvision must give the same pixels from the same draw. Nothing else is asserted.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import open_clip
import torch
from loading import photographs, processor_seconds
from PIL import Image
from rich.console import Console
from rich.table import Table
from torchvision.datasets import ImageFolder
from torchvision.io import decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from benchmarks import Domain
from benchmarks.data.byte_range import ByteRange
from benchmarks.data.formats import EXTENSIONS
from benchmarks.data.images import ImageFiles, read_image
from benchmarks.scenario import scenario
from strategies.engine.batches import DrawnItems, training_images, training_loader
from strategies.engine.training_options import TrainingOptions

SIZES = {"ImageNet": (500, 375), "Food": (512, 512), "Aircraft": (1024, 690), "SUN397": (1024, 768)}
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
SIDE, BATCH, SEEDS = 224, 64, (0, 0, 8)


def training_data(paths, resampling):
    """The images as a run trains on them."""
    files = ImageFiles(paths, [0] * len(paths))
    stream = scenario([Domain("photos", ("photo",), ("{}",), files, None, files)], preprocess=SIDE).train_stream
    return training_images(stream[0], TrainingOptions(resampling=resampling))


def whole_items(folder, paths):
    """Name -> function of an index: one prepared training image."""
    ours = {name: DrawnItems(training_data(paths, name), SEEDS) for name in ("pillow", "torch")}
    plain = ImageFolder(folder, transform=open_clip.image_transform(SIDE, is_train=True))
    assert plain.samples == [(str(path), 0) for path in sorted(paths, key=str)]
    pixels = [str(path) for path, _ in plain.samples]
    for i in range(min(len(paths), 8)):
        torch.manual_seed(i)
        normalised = plain[pixels.index(str(paths[i]))][0]
        torch.manual_seed(i)
        same = F.normalize(F.to_dtype(training_data(paths[i : i + 1], "pillow")[0][0], scale=True), MEAN, STD)
        assert torch.allclose(normalised, same, atol=1e-5), "the pixels differ from torchvision's"
    return {
        "torchvision": lambda i: plain[i],
        "ours, pillow": lambda i: ours["pillow"][i, i],
        "ours, torch": lambda i: ours["torch"][i, i],
    }


def difference(paths):
    """Compare torch's pixels with Pillow's: values that differ, per thousand, and the largest difference."""
    pillow, by_torch = (DrawnItems(training_data(paths, name), SEEDS) for name in ("pillow", "torch"))
    far = torch.stack([(pillow[i, i][0].int() - by_torch[i, i][0].int()).abs() for i in range(len(paths))])
    return float((far > 0).double().mean()) * 1e3, int(far.max())


def parts(paths):
    """Name -> function of an index: decoding or resizing only."""
    data = [path.read_bytes() for path in paths]
    images = [read_image(path) for path in paths]
    tensors = [F.pil_to_tensor(image) for image in images]
    encoded = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in data]

    def halved(i):
        image = Image.open(io.BytesIO(data[i]))
        image.draft("RGB", (image.width // 2, image.height // 2))
        image.load()
        return image

    def by_torch(i):
        return F.resize(tensors[i], [SIDE, SIDE], interpolation=InterpolationMode.BICUBIC, antialias=True)

    equal = all(torch.equal(decode_jpeg(one), other) for one, other in zip(encoded, tensors, strict=True))
    bicubic, small = Image.Resampling.BICUBIC, (SIDE, SIDE)
    return equal, {
        "decode: Pillow": lambda i: Image.open(io.BytesIO(data[i])).load(),
        "decode: torchvision": lambda i: decode_jpeg(encoded[i]),
        "decode: Pillow, half the size": halved,
        "resize: Pillow": lambda i: images[i].resize(small, bicubic),
        "resize: Pillow, reducing_gap=2": lambda i: images[i].resize(small, bicubic, reducing_gap=2),
        "resize: torch": by_torch,
    }


def loader(paths, resampling, workers, passes):
    """Images per second, ms of processor time per image, and seconds to the first batch.

    Both are of all processes, with their start and end.
    """
    data = training_data([*paths] * passes, resampling)
    busy, began = processor_seconds(), time.perf_counter()
    loaded = training_loader(data, BATCH, shuffle=True, workers=workers, seeds=SEEDS, pin=torch.cuda.is_available())
    batches = iter(loaded)
    next(batches)
    first = time.perf_counter() - began
    for _ in batches:
        pass
    # The processes end here; their time is known only then.
    del batches, loaded
    seconds = time.perf_counter() - began
    return len(data) / seconds, (processor_seconds() - busy) / len(data) * 1e3, first


def shards(folder, paths):
    """Name -> (what is done before the clock starts, read all files in random order)."""
    shard = folder / "images.tar"
    with tarfile.open(shard, "w") as tar:
        for path in paths:
            tar.add(path, path.name)
    with tarfile.open(shard) as tar:
        places = [ByteRange(str(shard), member.offset_data, member.size) for member in tar]
    order = random.Random(0).sample(range(len(paths)), len(paths))

    def drop(*files):
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def files():
        return [paths[i].read_bytes() for i in order]

    def tar():
        return [places[i].read() for i in order]

    assert files() == tar()
    ways = {"files, in memory": (lambda: None, files), "tar, in memory": (lambda: None, tar)}
    if hasattr(os, "posix_fadvise"):
        ways |= {"files, on disk": (lambda: drop(*paths), files), "tar, on disk": (lambda: drop(shard), tar)}
    return ways


def show(title, headers, body):
    table = Table(title=title)
    for i, header in enumerate(headers):
        table.add_column(header, justify="right" if i else "left")
    for row in body:
        table.add_row(*map(str, row))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="JPEG images of yours, in it or below it, instead of the photographs")
    parser.add_argument("--images", type=int, default=64, help="photographs to make per size, or at most to take of --folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="numbers of processes of `loader`")
    parser.add_argument("--passes", type=int, default=16, help="passes over the images per round of `loader`")
    parser.add_argument("--parts", nargs="+", default=["items", "loader", "shards"], choices=["items", "loader", "shards"])
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        sets = {}
        for name, size in SIZES.items() if a.folder is None else [("yours", None)]:
            folder = root / name / "photos"
            folder.mkdir(parents=True)
            if size is None:
                found = sorted(p for p in a.folder.rglob("*") if p.suffix.lower() in EXTENSIONS)[: a.images]
                sets[name] = [folder / f"{i}.jpg" for i in range(len(found))]
                for link, path in zip(sets[name], found, strict=True):
                    link.symlink_to(path.resolve())
            else:
                sets[name] = photographs(folder, a.images, size, quality=95, grain=4)
        first = next(iter(sets.values()))
        if "items" in a.parts:
            items(root, sets, a.rounds)
        if "loader" in a.parts:
            loaders(first, a)
        if "shards" in a.parts:
            reads(root, first, a.rounds)


def items(root, sets, rounds):
    """Milliseconds of processor time per image, by set."""
    ways, names = {}, list(sets)
    for name, paths in sets.items():
        equal, pieces = parts(paths)
        ways[name] = whole_items(root / name, paths) | pieces
        kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
        print(f"{name}: {kilobytes:.0f} kB per file; torchvision decodes as Pillow does: {equal}")
        print("resized by torch, {:.2f} of 1,000 values differ, by {} at most".format(*difference(paths)))
    taken = {(name, way): [] for name in names for way in ways[name]}
    for _ in range(rounds):
        for name, way in taken:
            start = time.process_time()
            for i in range(len(sets[name])):
                ways[name][way](i)
            taken[name, way].append((time.process_time() - start) / len(sets[name]) * 1e3)
    body = [[way, *(f"{statistics.median(taken[name, way]):.2f}" for name in names)] for way in ways[names[0]]]
    show(f"ms of processor time per image, one thread, {rounds} rounds", ["", *names], body)


def loaders(paths, a):
    """Images per second through the loader."""
    cases = [(resampling, workers) for resampling in ("pillow", "torch") for workers in a.workers]
    measured = {case: [] for case in cases}
    for _ in range(a.rounds):
        for case in cases:
            measured[case].append(loader(paths, *case, a.passes))
    body = []
    for (resampling, workers), values in measured.items():
        rate, busy, first = map(statistics.median, zip(*values, strict=True))
        body.append([resampling, workers, f"{rate:.0f}", f"{busy:.2f}", f"{first:.2f}"])
    headers = ["resampling", "workers", "images / s", "processor ms / image", "first batch, s"]
    show(f"batches of {BATCH}, {a.rounds} rounds of {a.passes * len(paths)} images, {os.cpu_count()} cores", headers, body)


def reads(root, paths, rounds):
    """Milliseconds per file for the bytes."""
    ways = shards(root, paths)
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (prepare, read) in ways.items():
            prepare()
            start = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - start)
    body = [[name, f"{statistics.median(values) / len(paths) * 1e3:.3f}"] for name, values in seconds.items()]
    show("ms per file, bytes only", ["", "ms"], body)


if __name__ == "__main__":
    main()
