"""Readers of datasets whose images are in array files: MNIST's idx, CIFAR's pickles, SVHN's .mat, STL-10's binaries.

They read the files that torchvision writes. `data verify` compares the checksums. Listing reads labels and headers, and
CIFAR's pickles whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.listing import ArrayFiles, Listing, check_numbers, reading, text_lines
from benchmarks.full.read_pickles import load as load_pickle
from models.registry import UserError

DIGITS = tuple(map(str, range(10)))


def mnist(files: DatasetFiles, split: str) -> Listing:
    """MNIST or Fashion-MNIST, greyscale [N, 28, 28], from raw idx files; classes are "0" to "9"."""
    prefix = "train" if split == "train" else "t10k"
    images, labels = files.path(f"{prefix}-images-idx3-ubyte"), files.path(f"{prefix}-labels-idx1-ubyte")
    with reading(images):
        shape = _idx_shape(images, 3)
    with reading(labels):
        numbers = _idx(labels, 1).tolist()
    return _arrays(DIGITS, numbers, shape[0], (images, labels), lambda: _idx(images, 3))


def _idx_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Return the shape in the header of an idx file: 4 bytes of type and number of dimensions, then 4 bytes per dimension."""
    with path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"not an idx file of bytes in {dimensions} dimensions")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, 4 + 4 * dimensions, 4))
    size = path.stat().st_size - len(header)
    if size != np.prod(shape):
        raise ValueError(f"{size} bytes of data for the shape {shape}")
    return shape


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    shape = _idx_shape(path, dimensions)
    return np.fromfile(path, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def cifar10(files: DatasetFiles, split: str) -> Listing:
    """CIFAR-10, five training batches and one test batch."""
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    return _cifar(files, batches, "labels", "batches.meta", "label_names")


def cifar100(files: DatasetFiles, split: str) -> Listing:
    """CIFAR-100 with its 100 fine labels."""
    return _cifar(files, [split], "fine_labels", "meta", "fine_label_names")


def _cifar(files: DatasetFiles, batches: Sequence[str], label_key: str, meta: str, names_key: str) -> Listing:
    with reading(files.path(meta)) as path:
        keys = tuple(str(name) for name in load_pickle(path)[names_key])
    paths = tuple(files.path(batch) for batch in batches)
    arrays, numbers = [], []
    for path in paths:
        with reading(path):
            batch = load_pickle(path)
            data = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            arrays.append(data.transpose(0, 2, 3, 1))
            numbers += [int(label) for label in batch[label_key]]
    images = np.concatenate(arrays)
    return _arrays(keys, numbers, len(images), paths, lambda: images)


def svhn(files: DatasetFiles, split: str) -> Listing:
    """SVHN's cropped digits [N, 32, 32, 3]; the file calls the digit 0 class 10."""
    from scipy.io import loadmat, whosmat

    with reading(files.path(f"{split}_32x32.mat")) as path:
        count = {name: shape for name, shape, _ in whosmat(str(path))}["X"][3]
        labels = loadmat(str(path), variable_names=["y"])["y"].ravel()
        numbers = [0 if label == 10 else int(label) for label in labels]

    def load() -> NDArray[np.uint8]:
        images = loadmat(str(path), variable_names=["X"])["X"]
        return np.ascontiguousarray(images.transpose(3, 0, 1, 2))

    return _arrays(DIGITS, numbers, count, (path,), load)


def stl10(files: DatasetFiles, split: str) -> Listing:
    """STL-10 [N, 96, 96, 3]: the file holds channels, then columns, then rows."""
    images, labels = files.path(f"{split}_X.bin"), files.path(f"{split}_y.bin")
    with reading(files.path("class_names.txt")) as path:
        keys = tuple(text_lines(path))
    with reading(images):
        count, rest = divmod(images.stat().st_size, 3 * 96 * 96)
        if rest:
            raise ValueError(f"{rest} bytes after the last image")
    with reading(labels):
        numbers = [int(label) - 1 for label in np.fromfile(labels, dtype=np.uint8)]

    def load() -> NDArray[np.uint8]:
        return np.fromfile(images, dtype=np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)

    return _arrays(keys, numbers, count, (images, labels), load)


def _arrays(
    keys: Sequence[str], numbers: Sequence[int], count: int, paths: tuple[Path, ...], load: Callable[[], NDArray[np.uint8]]
) -> Listing:
    """Return the listing of `count` images with class numbers [N]. `paths` are image files, then the labels' file, if any."""
    if count != len(numbers):
        raise UserError(f"{paths[0]} has {count} images, but there are {len(numbers)} labels.")
    check_numbers(numbers, keys, paths[-1])
    return Listing(tuple(keys), [keys[number] for number in numbers], arrays=ArrayFiles(paths, load))
