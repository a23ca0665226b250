"""Made-up data of datasets in array files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .files import Made, idx, pickled, picture, text

CIFAR100 = ("apple", "aquarium_fish", "baby")


def cifar_arrays(count: int, classes: int, start: int) -> tuple[np.ndarray, list[int]]:
    labels = [i % classes for i in range(count)]
    images = [np.asarray(picture(label, start + i, 32)).transpose(2, 0, 1).reshape(-1) for i, label in enumerate(labels)]
    return np.stack(images), labels


def cifar100(root: Path) -> Made:
    base = root / "cifar-100-python"
    for split, count, start in (("train", 12, 0), ("test", 6, 500)):
        data, labels = cifar_arrays(count, 3, start)
        pickled(base / split, {"data": data, "fine_labels": labels, "coarse_labels": labels, "filenames": []})
    pickled(base / "meta", {"fine_label_names": list(CIFAR100), "coarse_label_names": []})
    return Made(3, {"train": 12, "test": 6})


def cifar10(root: Path) -> Made:
    base = root / "cifar-10-batches-py"
    for number in range(1, 6):
        data, labels = cifar_arrays(4, 2, 10 * number)
        pickled(base / f"data_batch_{number}", {"data": data, "labels": labels})
    data, labels = cifar_arrays(6, 2, 900)
    pickled(base / "test_batch", {"data": data, "labels": labels})
    pickled(base / "batches.meta", {"label_names": ["airplane", "automobile"]})
    return Made(2, {"train": 20, "test": 6})


def mnist(root: Path, folder: str = "MNIST") -> Made:
    for prefix, count, start in (("train", 20, 0), ("t10k", 10, 100)):
        labels = np.arange(count) % 10
        images = np.stack([np.asarray(picture(int(n), start + i, 28, "L")) for i, n in enumerate(labels)])
        idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
    return Made(10, {"train": 20, "test": 10})


def fashion_mnist(root: Path) -> Made:
    return mnist(root, "FashionMNIST")


def svhn(root: Path) -> Made:
    from scipy.io import savemat

    (root / "svhn").mkdir(parents=True, exist_ok=True)
    for split, count, start in (("train", 20, 0), ("test", 10, 100)):
        labels = [number % 10 for number in range(count)]
        images = np.stack([np.asarray(picture(n, start + i, 32)) for i, n in enumerate(labels)], axis=-1)
        savemat(root / "svhn" / f"{split}_32x32.mat", {"X": images, "y": np.array([[n or 10] for n in labels], dtype=np.uint8)})
    return Made(10, {"train": 20, "test": 10})


def stl10(root: Path) -> Made:
    base, names = root / "stl10_binary", ("airplane", "bird", "car")
    text(base / "class_names.txt", names)
    for split, count, start in (("train", 6, 0), ("test", 3, 100)):
        labels = [number % 3 for number in range(count)]
        images = [np.asarray(picture(n, start + i, 96)).transpose(2, 1, 0) for i, n in enumerate(labels)]
        (base / f"{split}_X.bin").write_bytes(np.stack(images).tobytes())
        (base / f"{split}_y.bin").write_bytes(bytes(n + 1 for n in labels))
    return Made(3, {"train": 6, "test": 3})
