"""Reference pairs, an image with its sentence, for methods that distil on them (GIFT). `benchmarks.pair_lookup` finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import cached
from benchmarks.data.progress import Progress
from benchmarks.pair_lookup import find_pairs
from benchmarks.reference import FileImages
from models.transforms import Preprocess, evaluation_transform
from reference_data import Reference


def load(
    images: str,
    sentences: str,
    preprocess: int | Preprocess,
    tasks: Sequence[str],
    *,
    data_root: str = "data",
    cache: bool = True,
    progress: Progress | None = None,
) -> Reference:
    """Load reference pairs at the model's size: image i belongs to sentence i.

    Args:
        images: "mini" (1,500 drawn pairs), "conceptual_captions", or a folder of images.
        sentences: the same name, or a table (`benchmarks.pair_lookup.find_pairs`).
        preprocess: the preparation of images, or their size in pixels.
        tasks: the names of the tasks. With {task} in a name every task has other pairs, whose rows are in `Reference.rows`.
        data_root: the data folder.
        cache: keep the decoded images on disk.
        progress: called as progress(done, total, what).

    Raises:
        UserError: for missing data. The message says what to do.
    """
    if images == sentences == "mini":
        from benchmarks.mini import reference

        pictures, texts = reference.pairs(progress)
        transform = evaluation_transform(preprocess)
        return Reference(torch.stack([transform(image) for image in pictures]), texts)
    found = find_pairs(images, sentences, tasks, data_root)
    files: Any = ImageFiles(found.paths, [0] * len(found.paths), upright=images != "conceptual_captions")
    decoded = cached(files, preprocess, label=f"pairs-{Path(images).name}", progress=progress) if cache else files
    pixels = FileImages(files, preprocess) if decoded is files else decoded.images
    return Reference(pixels, found.sentences, found.rows)
