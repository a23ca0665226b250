"""Cache images as the encoder takes them: decoded and resized once, then read from disk (`cached`, `cached_domain`).

Evaluation and reference transforms are deterministic. Their output for a split is stored as uint8 [N, 3, S, S] in one file per
(split, transform) and memory-mapped afterwards. The pixels are bit-exact. A training split is not cached, because its crops
are random.

The key is the SHA-256 of the origin of the images (`benchmarks.data.images.fingerprint_of`: paths, sizes and times), the
transform's fields, its output for two fixed images, the format's version, and the versions of the packages that decode and
resize. Labels are not part of it, since they come from the dataset each time. `benchmarks.data.pixel_files.sweep` deletes old
files.

A cache never makes a run fail: if it cannot be written, the dataset is used without it, and `progress` reports the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from models.processors import processors
from models.registry import UserError
from models.transforms import Preprocess, evaluation_transform

FORMAT = 1
"""Increase it whenever the same key would stand for other pixels."""

PACKAGES = ("pillow", "torch", "torchvision")
MARGIN = 256 * 2**20
"""The bytes of the disk that stay free."""
BLOCK = 16
"""The number of images that a thread decodes at a time."""
MOST_WORKERS = 16
PATIENCE = 3600.0
"""The seconds to wait for another process that builds the same file, before building it too."""


class CachedImages(TensorImages):
    """`TensorImages` over a memory-mapped file. A copy or a worker process maps the file again, without copying pixels."""

    def __init__(self, path: Path, key: str, images: np.ndarray, targets: Sequence[int]):
        with warnings.catch_warnings():
            # Only if `pixel_files.load` could not make a copy-on-write map.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            super().__init__(torch.from_numpy(images), targets)
        self.path, self.key = path, key

    def __reduce__(self) -> tuple[Any, ...]:
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
    """Return the dataset with `evaluation_transform(preprocess)` applied to its images, from the cache.

    The cache is built if necessary.

    Args:
        dataset: the dataset.
        preprocess: the argument of `evaluation_transform`.
        label: the name for the user ("eurosat-test") in messages, `usage` and `clear`.
        progress: called as progress(done, total, what) while images are decoded.
        workers: the number of threads that read the dataset; that of the processors if None. With 1 it is read in the calling
            thread, which is right for a dataset that is not thread-safe.
        folder: the folder of the cache; `pixels` in $PERENNIAL_CACHE or in the user's cache folder if None.

    Returns:
        A `CachedImages`, whose items are (uint8 [3, S, S], int). The transform does not change such images, so it may be
        applied again. The dataset is returned unchanged if it is empty, has no fingerprint, is a `TensorImages` of the right
        size (it is in memory), or cannot be cached (no space, no permission). `progress` reports the last case.

    Raises:
        UserError: naming the file, for a damaged image.

    Example:
        >>> cached(domain.test, 224, label="photos-test")[0][0].shape
        torch.Size([3, 224, 224])
    """
    # Equal transforms share a file, however they were given.
    preprocess = Preprocess.of(preprocess)
    size = preprocess.size
    if len(dataset) == 0 or (isinstance(dataset, TensorImages) and tuple(dataset.images.shape[2:]) == (size, size)):
        return dataset
    fingerprint = fingerprint_of(dataset)
    if fingerprint is None:
        return dataset
    folder = pixel_files.pixels_folder() if folder is None else Path(folder)
    key, shape = _key(fingerprint, preprocess), (len(dataset), 3, size, size)
    path = pixel_files.path_of(folder, label, key)
    images = pixel_files.load(path, key, shape)
    if images is None:
        report = progress or (lambda done, total, what: None)
        try:
            images = _build(dataset, preprocess, path, label, key, shape, report, workers)
        except pixel_files.CannotWrite as error:
            report(shape[0], shape[0], f"{label} is not cached in {folder}: {error}")
            return dataset
    return CachedImages(path, key, images, targets_of(dataset))


def is_cached(dataset: Any, preprocess: int | Preprocess, *, label: str) -> bool:
    """Return whether `cached` would find the images of a dataset with a fingerprint in its default folder."""
    preprocess, fingerprint = Preprocess.of(preprocess), fingerprint_of(dataset)
    if fingerprint is None:
        return False
    key, shape = _key(fingerprint, preprocess), (len(dataset), 3, preprocess.size, preprocess.size)
    return pixel_files.load(pixel_files.path_of(pixel_files.pixels_folder(), label, key), key, shape) is not None


def cached_domain(
    domain: Domain,
    preprocess: int | Preprocess,
    splits: Sequence[str] = ("val", "test", "ood"),
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    folder: str | Path | None = None,
) -> Domain:
    """Return the domain with some splits `cached`, under labels such as "eurosat-test".

    A domain without anything to cache is returned unchanged. A split that is None stays None, so make the validation split
    first (`with_validation`).

    Args:
        domain: the domain.
        preprocess: as in `cached`.
        splits: the splits to cache.
        progress: as in `cached`.
        workers: as in `cached`.
        folder: as in `cached`.

    Returns:
        The domain.

    Raises:
        UserError: naming the file, for a damaged image.

    Example:
        >>> cached_domain(domain, 224, splits=("test",)).test.images.dtype
        torch.uint8
    """
    changed = {}
    for split in splits:
        dataset = getattr(domain, split)
        if dataset is None:
            continue
        label = f"{domain.name}-{split}"
        images = cached(dataset, preprocess, label=label, progress=progress, workers=workers, folder=folder)
        if images is not dataset:
            changed[split] = images
    return replace(domain, **changed) if changed else domain


def bytes_needed(images: int, preprocess: int | Preprocess) -> int:
    """Return the size on disk of a number of images: 3 S^2 each, and the header's page."""
    return images * 3 * Preprocess.of(preprocess).size ** 2 + pixel_files.PAGE


def decoded(dataset: Any, preprocess: int | Preprocess, workers: int | None = None) -> Iterator[np.ndarray]:
    """Yield the transformed images in order, uint8 [n, 3, S, S] with n up to `BLOCK`, decoded ahead by a few blocks per thread.

    Threads are used, not processes: Pillow decodes and resizes outside the interpreter lock, nothing has to be sent between
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
                raise ValueError(f"image {index} became {image.dtype} {tuple(image.shape)}, not uint8 [3, {size}, {size}]")
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
    """Return the default number of threads that decode images."""
    return min(MOST_WORKERS, processors())


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

    with _locked(path, lambda: report(0, shape[0], f"{label}: waiting for another process that decodes it")):
        # Another process may have finished it in the meantime.
        images = pixel_files.load(path, key, shape)
        if images is None:
            with pixel_files.refusals():
                pixel_files.sweep(path, label, need)
                free = shutil.disk_usage(path.parent).free
            if free < need + MARGIN:
                raise pixel_files.CannotWrite(
                    f"it needs {_readable(need)}, but only {_readable(free)} are free, of which {_readable(MARGIN)} "
                    "must stay free"
                )
            pixel_files.write(path, label=label, key=key, transform=str(preprocess), shape=shape, blocks=blocks())
            images = pixel_files.load(path, key, shape)
    if images is None:
        raise pixel_files.CannotWrite("the file could not be read back")
    return images


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of one file. If locks do not work, two processes may build it, which takes time but does no harm."""
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
            # A process that waits for this lock, or makes a new one, finds the finished file.
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()


def _mapped_again(path: Path, key: str, shape: tuple[int, ...], targets: Sequence[int]) -> CachedImages:
    images = pixel_files.load(path, key, shape)
    if images is None:
        raise UserError(f"The cached images {path} no longer exist. Run the same command again.")
    return CachedImages(path, key, images, targets)


def _key(fingerprint: str, preprocess: Preprocess) -> str:
    digest = hashlib.sha256(f"format {FORMAT}\n{fingerprint}\n{preprocess}\n".encode())
    digest.update("\n".join(f"{package} {version(package)}" for package in PACKAGES).encode())
    # The transform's output is part of the key, because its code may change while its fields do not.
    transform = evaluation_transform(preprocess)
    noise = np.random.default_rng(0).integers(0, 256, (41, 67, 3), np.uint8)
    for image in (Image.fromarray(noise), Image.fromarray(noise[:, :29, 0].copy())):
        digest.update(transform(image).contiguous().numpy().data)
    return digest.hexdigest()


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
