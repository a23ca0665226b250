"""Sets that lie in arrays: MNIST's idx files, CIFAR's pickles, SVHN's .mat files, STL-10's binaries, and the flowers' and
KITTI's annotations. They read the files that torchvision writes; checksums are left to `data verify`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.data.images import file_source
from benchmarks.full.dataset_table import names
from benchmarks.full.parts import Part, listed, reading
from benchmarks.full.read_pickles import load as load_pickle
from models.registry import UserError

DIGITS = tuple(map(str, range(10)))


def mnist(folder: Path, split: str) -> Part:
    """MNIST or Fashion-MNIST, greyscale [N, 28, 28], from raw idx files; classes are "0" to "9"."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    prefix = "train" if split == "train" else "t10k"
    pictures, numbers = folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"
    with reading(pictures):
        images = read_image_file(str(pictures)).numpy()
    with reading(numbers):
        labels = read_label_file(str(numbers)).tolist()
    return _numbered(DIGITS, images, labels, pictures, numbers)


def cifar10(root: Path, split: str) -> Part:
    """CIFAR-10, five training batches and one test batch."""
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    return _cifar(root / "cifar-10-batches-py", batches, "labels", "batches.meta", "label_names")


def cifar100(root: Path, split: str) -> Part:
    """CIFAR-100 with its 100 fine labels."""
    return _cifar(root / "cifar-100-python", [split], "fine_labels", "meta", "fine_label_names")


def _cifar(folder: Path, batches: list[str], label_key: str, meta: str, names_key: str) -> Part:
    with reading(folder / meta):
        keys = tuple(str(name) for name in load_pickle(folder / meta)[names_key])
    images, labels, files = [], [], [folder / batch for batch in batches]
    for path in files:
        with reading(path):
            batch = load_pickle(path)
            data = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            images.append(data.transpose(0, 2, 3, 1))
            labels += [int(label) for label in batch[label_key]]
    return _numbered(keys, np.concatenate(images), labels, *files)


def svhn(root: Path, split: str) -> Part:
    """SVHN's cropped digits [N, 32, 32, 3]; the file calls the digit 0 class 10."""
    from scipy.io import loadmat

    path = root / "svhn" / f"{split}_32x32.mat"
    with reading(path):
        data = loadmat(str(path))
        images = np.ascontiguousarray(data["X"].transpose(3, 0, 1, 2))
        labels = [0 if label == 10 else int(label) for label in data["y"].ravel()]
    return _numbered(DIGITS, images, labels, path)


def stl10(root: Path, split: str) -> Part:
    """STL-10 [N, 96, 96, 3]: the file holds channels, then columns, then rows."""
    base = root / "stl10_binary"
    pictures, numbers = base / f"{split}_X.bin", base / f"{split}_y.bin"
    with reading(base / "class_names.txt"):
        keys = tuple(line.strip() for line in (base / "class_names.txt").read_text().splitlines() if line.strip())
    with reading(pictures):
        images = np.fromfile(pictures, dtype=np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    with reading(numbers):
        labels = [int(label) - 1 for label in np.fromfile(numbers, dtype=np.uint8)]
    return _numbered(keys, images, labels, pictures, numbers)


def flowers(root: Path, split: str) -> Part:
    """Flowers-102: setid.mat says the split (trnid, tstid), imagelabels.mat the class of every image, from 1."""
    from scipy.io import loadmat

    base = root / "flowers-102"
    keys = tuple(names("flowers"))
    with reading(base / "setid.mat"):
        wanted = loadmat(str(base / "setid.mat"))["trnid" if split == "train" else "tstid"].ravel()
        numbers = [int(number) for number in wanted]
    with reading(base / "imagelabels.mat"):
        every = loadmat(str(base / "imagelabels.mat"))["labels"].ravel()
        labels = [int(every[number - 1]) - 1 for number in numbers]
    _check(keys, labels, base / "imagelabels.mat")
    files = [base / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
    return listed(keys, files, [keys[label] for label in labels])


def _numbered(keys: tuple[str, ...], images: np.ndarray, labels: list[int], *files: Path) -> Part:
    if len(images) != len(labels):
        raise UserError(f"{files[0]} holds {len(images)} images, but there are {len(labels)} labels.")
    _check(keys, labels, files[-1])
    return Part(keys, images, [keys[label] for label in labels], file_source(*files))


def _check(keys: tuple[str, ...], labels: list[int], path: Path) -> None:
    bad = sorted({label for label in labels if not 0 <= label < len(keys)})
    if bad:
        raise UserError(f"{path} has labels outside its {len(keys)} classes: {', '.join(map(str, bad[:5]))}.")
