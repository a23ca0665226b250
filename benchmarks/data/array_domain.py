"""Make a domain of images that are held as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain


class Row(Protocol):
    """The row of a domain in a table of this project."""

    @property
    def classnames(self) -> tuple[str, ...]:
        """One name per class."""

    @property
    def templates(self) -> tuple[str, ...]:
        """Prompts with "{}" for the class name."""

    @property
    def licence(self) -> str:
        """The licence of the images."""

    @property
    def source(self) -> str:
        """The origin of the images."""


def array_domain(name: str, row: Row, arrays: Mapping[str, np.ndarray], origin: str) -> Domain:
    """Return a domain with the splits train, val, test, and ood if there are arrays of it.

    Args:
        name: the domain's name.
        row: its row.
        arrays: `<split>_images` uint8 [N, 3, S, S] and `<split>_labels` int64 [N].
        origin: the origin of the splits, as a phrase for the header of a run.
    """
    splits = {
        split: TensorImages(torch.from_numpy(arrays[f"{split}_images"]), arrays[f"{split}_labels"].tolist())
        for split in ("train", "val", "test", "ood")
        if f"{split}_images" in arrays
    }
    return Domain(
        name=name,
        classnames=row.classnames,
        templates=row.templates,
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        ood=splits.get("ood"),
        licence=row.licence,
        source=row.source,
        split_sources=dict.fromkeys(("train", "val", "test"), origin),
        published=True,
    )
