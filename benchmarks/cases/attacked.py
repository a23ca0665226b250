"""Images with the name of a wrong class written over them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.cases.written_words import HELDOUT_TYPEFACES, TYPEFACES, choose, write
from benchmarks.data.dataset import TensorImages, targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.images import fingerprint_of
from benchmarks.mini import cache
from benchmarks.mini.render import generator
from models.transforms import eight_bit

DRAWING = 1
"""Increase it whenever the written pictures change."""


class Attacked(Dataset[tuple[Image.Image, int]]):
    """The images of a dataset, each one or several times, with wrong class names; items are (PIL image, label).

    Word, typeface and look of an item depend on `seed` and its number only, so every run sees the same pictures.

    Args:
        dataset: images (PIL or uint8 [3, H, W]) with labels.
        classnames: the names of the labels.
        typefaces: typefaces of the words.
        seed: words that seed the choices.
        copies: pictures per image, with different words and looks.

    Raises:
        ValueError: for fewer than two classes: no name would be wrong.
    """

    def __init__(self, dataset: Any, classnames: Sequence[str], typefaces: Sequence[str], seed: Sequence[str], copies: int = 1):
        if len(classnames) < 2:
            raise ValueError(f"a wrong class name needs at least two classes, got {len(classnames)}")
        self.dataset, self.classnames, self.typefaces = dataset, tuple(classnames), tuple(typefaces)
        self.seed, self.copies = tuple(seed), copies
        self.targets = targets_of(dataset) * copies

    def __len__(self) -> int:
        return len(self.targets)

    def _generator(self, index: int) -> np.random.Generator:
        return generator(*self.seed, str(index))

    def word(self, index: int) -> int:
        """Return the label of the class whose name is written on an item."""
        return int((self.targets[index] + self._generator(index).integers(1, len(self.classnames))) % len(self.classnames))

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image, label = self.dataset[index % len(self.dataset)]
        picture = (
            image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(eight_bit(image).convert("RGB"))
        )
        rng = self._generator(index)
        rng.integers(1, len(self.classnames))  # as in `word`
        text = self.classnames[self.word(index)]
        return Image.fromarray(write(picture, text, choose(text, self.typefaces, rng), rng)), int(label)

    def fingerprint(self) -> str | None:
        """Return a digest that identifies the pixels, or None for images without a fingerprint."""
        inner = fingerprint_of(self.dataset)
        facts = (cache.version_key(), DRAWING, inner, self.classnames, self.typefaces, self.seed, self.copies)
        return None if inner is None else hashlib.sha256(repr(facts).encode()).hexdigest()


def attacked(domain: Domain, splits: Sequence[str], heldout_typefaces: bool, copies: int = 1) -> Domain:
    """Return a domain whose images have wrong class names of the domain written over them.

    The label of an image stays the class that it shows.

    Args:
        domain: the background.
        splits: the splits that the result has.
        heldout_typefaces: write in the typefaces that are kept for tests.
        copies: pictures per image, with different words.
    """
    typefaces = HELDOUT_TYPEFACES if heldout_typefaces else TYPEFACES
    written: dict[str, Any] = dict.fromkeys(("train", "val", "test", "ood"))
    for split in splits:
        if (dataset := getattr(domain, split)) is not None:
            written[split] = Attacked(dataset, domain.classnames, typefaces, ("attacked", domain.name, split), copies)
    return replace(domain, **written)


def drawn(domain: Domain, name: str) -> Domain:
    """Return a domain of small images with all its pictures in memory, from the cache of the mini edition.

    Args:
        domain: the domain.
        name: name in the cache. It must identify the pictures.
    """
    images: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        if (dataset := getattr(domain, split)) is not None:
            arrays = cache.load_or_make(f"{name}-{split}-{DRAWING}", partial(_pictures, dataset))
            images[split] = TensorImages(torch.from_numpy(arrays["images"]), targets_of(dataset))
    return replace(domain, **images)


def _pictures(dataset: Attacked) -> cache.Arrays:
    return {"images": np.stack([np.asarray(dataset[i][0]).transpose(2, 0, 1) for i in range(len(dataset))])}
