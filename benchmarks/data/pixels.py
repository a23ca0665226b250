"""Images as the encoder takes them, decoded and resized once, then read from disk: `cached` and `cached_domain`.

Evaluation and reference transforms draw nothing at random, so what they make of a split is kept as uint8 [N, 3, S, S] in one
file per (split, transform) and mapped into memory afterwards. The pixels are those that the transform makes, bit for bit. A
training split is not cached: its crops are random.

The key is the SHA-256 of: where the images come from (`benchmarks.data.images.fingerprint_of`: paths, sizes and times), the
transform's fields, what it makes of two fixed images, the format's version, the versions of the packages that decode and
resize. Labels are not in it: they come from the dataset each time. What is deleted when: `benchmarks.data.pixel_files.sweep`.

A cache never fails a run: where it cannot be kept, the dataset itself is used, and `progress` is told why.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image

from benchmarks.data import pixel_files
from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.images import fingerprint_of
from benchmarks.data.pixel_files import Cached as Cached
from benchmarks.data.pixel_files import clear as clear
from benchmarks.data.pixel_files import usage as usage
from benchmarks.data.progress import Progress
from models.registry import UserError
from models.transforms import Preprocess, evaluation_transform

FORMAT = 1
"""Raise it whenever the same key would hold other pixels."""

PACKAGES = ("pillow", "torch", "torchvision")
MARGIN = 256 * 2**20
"""Bytes that stay free on the disk."""
BLOCK = 16
"""Images a thread decodes at a time."""
MOST_WORKERS = 16
PATIENCE = 3600.0
"""Seconds to wait for another process that builds the same file, before building it too."""


class CachedImages(TensorImages):
    """`TensorImages` over a mapped file. A copy, or another process's, maps the file again and carries no pixels."""

    def __init__(self, path: Path, key: str, images: np.ndarray, targets: Sequence[int]):
        with warnings.catch_warnings():
            # Only where `pixel_files.load` could not get a copy-on-write map.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            super().__init__(torch.from_numpy(images), targets)
        self.path, self.key = path, key

    def __reduce__(self):
        return _mapped_again, (self.path, self.key, tuple(self.images.shape), self.targets)


def cached(
    dataset: Any,
    preprocess: int | Preprocess,
    *,
    label: str,
    progress: Progress | None = None,
    workers: int | None = None,
    folder: str | Path | None = None,
) -> Any:
    """The dataset with `evaluation_transform(preprocess)` applied to its images, from the cache, built first if need be.

    A `CachedImages`: items are (uint8 [3, S, S], int). The transform leaves its images alone, so it may be applied again.
    Returned as it is: an empty dataset, one without fingerprint, a `TensorImages` of the right size (it is in memory), and
    any that cannot be cached (no room, no permission), which `progress` is told.

    Args:
        preprocess: what `evaluation_transform` takes.
        label: what the user knows it by ("eurosat-test"); for messages, `usage` and `clear`.
        progress: called as progress(done, total, what) while images are decoded.
        workers: threads that read the dataset, as many as processors if None. With 1 it is read in the calling thread:
            for a dataset that is not safe to read from several.
        folder: instead of the folder `pixels` of $PERENNIAL_CACHE or the user's cache folder.

    Raises UserError, naming the file, for a damaged image.
    """
    # One file for both ways to say the same.
    preprocess = Preprocess.of(preprocess)
    size = preprocess.size
    if len(dataset) == 0 or (isinstance(dataset, TensorImages) and tuple(dataset.images.shape[2:]) == (size, size)):
        return dataset
    fingerprint = fingerprint_of(dataset)
    if fingerprint is None:
        return dataset
    where = pixel_files.pixels_folder() if folder is None else Path(folder)
    key, shape = _key(fingerprint, preprocess), (len(dataset), 3, size, size)
    path = pixel_files.path_of(where, label, key)
    images = pixel_files.load(path, key, shape)
    if images is None:
        report = progress or (lambda done, total, what: None)
        try:
            images = _build(dataset, preprocess, path, label, key, shape, report, workers)
        except pixel_files.CannotWrite as error:
            report(shape[0], shape[0], f"{label} is not cached in {where}: {error}")
            return dataset
    return CachedImages(path, key, images, targets_of(dataset))


def cached_domain(
    domain: Domain,
    preprocess: int | Preprocess,
    splits: Sequence[str] = ("val", "test", "ood"),
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    folder: str | Path | None = None,
) -> Domain:
    """The domain with those splits `cached`, under labels such as "eurosat-test"; a domain with nothing to cache is
    returned itself.

    A split that is None stays None: make the validation split first (`with_validation`).
    """
    changed = {}
    for split in splits:
        dataset = getattr(domain, split)
        if dataset is None:
            continue
        label = f"{domain.name}-{split}"
        kept = cached(dataset, preprocess, label=label, progress=progress, workers=workers, folder=folder)
        if kept is not dataset:
            changed[split] = kept
    return replace(domain, **changed) if changed else domain


def bytes_needed(images: int, preprocess: int | Preprocess) -> int:
    """On disk, for so many images: 3 S^2 each, and the header's page."""
    return images * 3 * Preprocess.of(preprocess).size ** 2 + pixel_files.PAGE


def decoded(dataset: Any, preprocess: int | Preprocess, workers: int | None = None) -> Iterator[np.ndarray]:
    """The transformed images in order, uint8 [n, 3, S, S] with n up to `BLOCK`, decoded ahead by a few blocks a thread.

    Threads, not processes: Pillow decodes and resizes outside the interpreter's lock, nothing has to be sent between
    processes, and nothing has to be started (tests/speed/loading.py measures both).
    """
    transform, size = evaluation_transform(preprocess), Preprocess.of(preprocess).size
    workers = threads() if workers is None else workers
    starts = iter(range(0, len(dataset), BLOCK))

    def read(start: int) -> np.ndarray:
        indices = range(start, min(start + BLOCK, len(dataset)))
        block = np.empty((len(indices), 3, size, size), np.uint8)
        for row, index in enumerate(indices):
            image = transform(dataset[index][0])
            if image.dtype != torch.uint8 or tuple(image.shape) != (3, size, size):
                raise ValueError(f"image {index} came out as {image.dtype} {tuple(image.shape)}, not uint8 [3, {size}, {size}]")
            block[row] = image.numpy()
        return block

    if workers <= 1:
        yield from map(read, starts)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        ahead = deque(pool.submit(read, start) for start in islice(starts, 2 * workers))
        while ahead:
            block = ahead.popleft().result()
            ahead.extend(pool.submit(read, start) for start in islice(starts, 1))
            yield block
    finally:
        pool.shutdown(cancel_futures=True)


def threads() -> int:
    """How many threads decode images, unless somebody says otherwise."""
    return min(MOST_WORKERS, _processors())


def _build(
    dataset: Any,
    preprocess: Preprocess,
    path: Path,
    label: str,
    key: str,
    shape: tuple[int, ...],
    report: Progress,
    workers: int | None,
) -> np.ndarray:
    with pixel_files.refusals():
        path.parent.mkdir(parents=True, exist_ok=True)
        pixel_files.check_place(path)
        pixel_files.check_place(Path(f"{path}.lock"))
    need = bytes_needed(shape[0], preprocess)
    what = f"{label}: decoding {shape[0]} images once, {_readable(need)} on disk"

    def blocks() -> Iterator[np.ndarray]:
        done = 0
        report(done, shape[0], what)
        for block in decoded(dataset, preprocess, workers):
            yield block
            done += len(block)
            report(done, shape[0], what)

    with _alone(path, lambda: report(0, shape[0], f"{label}: waiting for another process that decodes it")):
        # Somebody may have finished it while we waited.
        images = pixel_files.load(path, key, shape)
        if images is None:
            with pixel_files.refusals():
                pixel_files.sweep(path, label, need)
                free = shutil.disk_usage(path.parent).free
            if free < need + MARGIN:
                raise pixel_files.CannotWrite(f"it needs {_readable(need)}, and of {_readable(free)} free some must stay")
            pixel_files.write(path, label=label, key=key, transform=str(preprocess), shape=shape, blocks=blocks())
            images = pixel_files.load(path, key, shape)
    if images is None:
        raise pixel_files.CannotWrite("the file could not be read back")
    return images


@contextlib.contextmanager
def _alone(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock of one file; without it, where locks do not work, two builds cost time and harm nothing."""
    lock = FileLock(f"{path}.lock")
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire(timeout=PATIENCE)
    try:
        yield
    finally:
        if lock.is_locked:
            # Whoever waits for this one, or makes a new one, finds the finished file.
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()


def _mapped_again(path: Path, key: str, shape: tuple[int, ...], targets: Sequence[int]) -> CachedImages:
    images = pixel_files.load(path, key, shape)
    if images is None:
        raise UserError(f"The cached images {path} are gone. Run the same command again.")
    return CachedImages(path, key, images, targets)


def _key(fingerprint: str, preprocess: Preprocess) -> str:
    digest = hashlib.sha256(f"format {FORMAT}\n{fingerprint}\n{preprocess}\n".encode())
    digest.update("\n".join(f"{package} {version(package)}" for package in PACKAGES).encode())
    # What the transform does, not only what it is called: its code may change and its fields stay.
    transform = evaluation_transform(preprocess)
    noise = np.random.default_rng(0).integers(0, 256, (41, 67, 3), np.uint8)
    for image in (Image.fromarray(noise), Image.fromarray(noise[:, :29, 0].copy())):
        digest.update(transform(image).contiguous().numpy().data)
    return digest.hexdigest()


def _processors() -> int:
    # Those that this process may use, where the system says so: a container's share is often smaller than the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
