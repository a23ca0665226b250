"""Reference data for distillation: images and sentences by name, as ZSCL's released code uses them (2303.06628).

Images: "mini" (drawn ones that ship with the project), "imagenet" (ImageNet's training images), "conceptual_captions" (the
images of its validation set), or a folder, searched for images. Sentences: "mini", "conceptual_captions" (its validation
captions), "imagenet" (its class names in "a photo of a {}."), or a text file, one sentence a line (of a .csv or .tsv file
the column title or caption).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import cached, threads
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import permutation
from benchmarks.reference_lookup import NAMES, OWN_IMAGES, image_paths, load_sentences
from models.transforms import Preprocess, evaluation_transform
from reference_data import Reference

CHOICE = 0
"""Seed of which images are chosen, the same whatever the run's: each choice is decoded and kept on disk (9.6 GB for 64,064
images of 224 pixels). In which order a method looks at them is its own affair."""


class FileImages:
    """Reference images read when they are asked for: what a cache that could not be written is replaced by.

    Indexing with a slice or a tensor of indices gives uint8 [n, 3, S, S], decoded in threads: the dataset has to bear them.
    """

    def __init__(self, dataset: Any, preprocess: Any):
        self.dataset, self._transform = dataset, evaluation_transform(preprocess)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: slice | torch.Tensor) -> torch.Tensor:
        chosen = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        with ThreadPoolExecutor(threads(), thread_name_prefix="decode") as pool:
            return torch.stack(list(pool.map(self._image, chosen)))

    def _image(self, index: int) -> torch.Tensor:
        return self._transform(self.dataset[index][0])


def load(
    images: str,
    sentences: str,
    preprocess: Any,
    *,
    data_root: str = "data",
    count: int | None = None,
    paths: Sequence[str] | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Reference:
    """The reference data of those names, images at the model's size.

    `count`: at most that many images, a random choice (`CHOICE`): as many as are looked at, so that no others are decoded.
    `paths`: what `image_paths` gave, where the folder has been searched already.

    Raises UserError, saying what to do, for data that is not there.
    """
    said = load_sentences(sentences, data_root)
    if images in OWN_IMAGES:
        size = Preprocess.of(preprocess).size
        return Reference(torch.zeros(0, 3, size, size, dtype=torch.uint8), said)
    if images == "mini":
        from benchmarks.mini import reference

        transform = evaluation_transform(preprocess)
        return Reference(torch.stack([transform(image) for image in reference.images(progress=progress)]), said)
    paths = image_paths(images, data_root) if paths is None else paths
    if count is not None and count < len(paths):
        paths = [paths[i] for i in permutation(len(paths), CHOICE)[:count]]
    files: Any = ImageFiles(paths, [0] * len(paths), upright=images not in NAMES)
    if cache:
        files = cached(files, preprocess, label=f"reference-{Path(images).name}", progress=progress)
    chosen: Any = files.images if hasattr(files, "images") else FileImages(files, preprocess)
    return Reference(chosen, said)
