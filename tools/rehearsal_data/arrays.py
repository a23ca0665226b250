"""Layouts of datasets in array files: CIFAR's pickles, MNIST's idx files, SVHN's .mat files, STL-10's binaries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.rehearsal_data.content import Content, idx, matlab, pickled, text


def cifar100(root: Path, content: Content) -> None:
    """Write CIFAR-100: one pickle per split with rows of 3,072 bytes, all red values first. Coarse labels are all 0."""
    base = root / "cifar-100-python"
    for split in ("train", "test"):
        rows, labels = _cifar(content, split)
        names = [f"{content.classes[label]}_s_{i:06d}.png" for i, label in enumerate(labels)]
        batch = {"data": rows, "fine_labels": labels, "coarse_labels": [0] * len(labels), "filenames": names}
        pickled(base / split, {**batch, "batch_label": f"{split}ing batch 1 of 1"})
    pickled(base / "meta", {"fine_label_names": list(content.classes), "coarse_label_names": ["all"]})


def cifar10(root: Path, content: Content) -> None:
    """Write CIFAR-10: five pickles of training images and one of test images."""
    base = root / "cifar-10-batches-py"
    rows, labels = _cifar(content, "train")
    for number, part in enumerate(np.array_split(np.arange(len(labels)), 5), start=1):
        pickled(base / f"data_batch_{number}", {"data": rows[part], "labels": [labels[i] for i in part]})
    rows, labels = _cifar(content, "test")
    pickled(base / "test_batch", {"data": rows, "labels": labels})
    pickled(base / "batches.meta", {"label_names": list(content.classes), "num_vis": 3072})


def mnist(root: Path, content: Content, folder: str = "MNIST") -> None:
    """Write MNIST's four idx files, unpacked. Classes are "0" to "9"."""
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, keys = content.arrays(split, (28, 28), "L")
        idx(root / folder / "raw" / f"{prefix}-images-idx3-ubyte", images)
        idx(root / folder / "raw" / f"{prefix}-labels-idx1-ubyte", np.array([int(key) for key in keys]))


def fashion_mnist(root: Path, content: Content) -> None:
    """Write Fashion-MNIST, which has MNIST's files in a folder of another name."""
    mnist(root, content, "FashionMNIST")


def svhn(root: Path, content: Content) -> None:
    """Write SVHN's cropped digits as X [32, 32, 3, N] and y [N, 1], in which the digit 0 is class 10."""
    for split in ("train", "test"):
        images, keys = content.arrays(split, (32, 32))
        labels = np.array([[int(key) or 10] for key in keys], dtype=np.uint8)
        matlab(root / "svhn" / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels})


def stl10(root: Path, content: Content) -> None:
    """Write STL-10: bytes in the order image, channel, column, row, and labels from 1."""
    base = root / "stl10_binary"
    text(base / "class_names.txt", content.classes)
    for split in ("train", "test"):
        images, keys = content.arrays(split, (96, 96))
        (base / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (base / f"{split}_y.bin").write_bytes(bytes(content.classes.index(key) + 1 for key in keys))


def _cifar(content: Content, split: str) -> tuple[np.ndarray, list[int]]:
    images, keys = content.arrays(split, (32, 32))
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1), [content.classes.index(key) for key in keys]
