"""Reference images and sentences for distillation by name, as in ZSCL's released code (2303.06628).

Images: "mini" (rendered, they ship with the project), "imagenet" (ImageNet's training images), "conceptual_captions" (the
images of its validation set), a dataset of the benchmarks such as "CIFAR100" (its training images), or a folder, which is
searched for images. Sentences: "mini", "conceptual_captions" (its validation captions), "imagenet" (its class names in
"a photo of a {}."), a dataset such as "Food" (its class names in its first template), or a text file with one sentence per
line. Of a .csv or .tsv file the column title or caption is read.

Parts of ImageNet, as with the released option --num: "imagenet:classes=N" has the first N classes, with the first 100 training
images of each (ImageNetSM), and "imagenet:images=N" a random choice of N training images with seed 42 (ImageNetSUB).

Commas join several datasets, as with the released option --text-datasets: "CIFAR100,Food" has the images, or the sentences, of
the first one and then of the second one. ImageNet, its parts and Conceptual Captions may be among them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Subset

from benchmarks.data.dataset import ImageDataset
from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import cached, threads
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import permutation
from benchmarks.reference_lookup import OWN_IMAGES, dataset, image_paths, is_folder, joined, load_sentences
from models.transforms import Preprocess, evaluation_transform
from reference_data import Reference

CHOICE = 0
"""Seed of the choice of images. It does not depend on the run's seed, because each choice is decoded and cached on disk
(9.6 GB for 64,064 images of 224 pixels). Methods choose the order in which they use the images."""


class FileImages:
    """Reference images that are decoded when they are used, for runs without a cache.

    Indexing with a slice or a tensor of indices returns uint8 [n, 3, S, S], decoded in threads.

    Args:
        dataset: the images. It must be safe to read in threads.
        preprocess: the preparation of images, or their size in pixels.
    """

    def __init__(self, dataset: ImageDataset, preprocess: int | Preprocess):
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
    preprocess: int | Preprocess,
    *,
    data_root: str = "data",
    count: int | None = None,
    paths: Sequence[str] | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> Reference:
    """Load reference images at the model's size, and reference sentences.

    Args:
        images: name of the images, a dataset, a folder, or a word in `reference_lookup.OWN_IMAGES` (no images).
        sentences: name of the sentences, a dataset, a text file, or a word in `reference_lookup.OWN_SENTENCES` (no sentences).
        preprocess: the preparation of images, or their size in pixels.
        data_root: the data folder.
        count: number of images that are used. A random choice (seed `CHOICE`), so no others are decoded.
        paths: the result of `image_paths`, if the folder has been searched already.
        cache: keep the decoded images on disk.
        progress: called as progress(done, total, what).

    Raises:
        UserError: for missing data. The message says what to do.
    """
    texts = load_sentences(sentences, data_root)
    if images in OWN_IMAGES:
        size = Preprocess.of(preprocess).size
        return Reference(torch.zeros(0, 3, size, size, dtype=torch.uint8), texts)
    if images == "mini":
        from benchmarks.mini import reference

        transform = evaluation_transform(preprocess)
        return Reference(torch.stack([transform(image) for image in reference.images(progress=progress)]), texts)
    names = joined(images)
    files: Any
    if names == [images] and dataset(images, data_root) is None:
        paths = image_paths(images, data_root) if paths is None else paths
        if count is not None and count < len(paths):
            paths = [paths[i] for i in permutation(len(paths), CHOICE)[:count]]
        files = ImageFiles(paths, [0] * len(paths), upright=is_folder(images))
    else:
        sets = [_files(name, data_root, progress) for name in names]
        files = sets[0] if len(sets) == 1 else ConcatDataset(sets)
        if count is not None and count < len(files):
            files = Subset(files, permutation(len(files), CHOICE)[:count])
    if not cache:
        return Reference(FileImages(files, preprocess), texts)
    label = re.sub(r"\W", "-", Path(images).name) if ":" in images or len(names) > 1 else Path(images).name
    decoded = cached(files, preprocess, label=f"reference-{label}", progress=progress)
    # `cached` returns the files if it cannot write, or need not.
    return Reference(FileImages(files, preprocess) if decoded is files else decoded.images, texts)


def _files(name: str, data_root: str, progress: Progress | None) -> Any:
    """Return the images of a dataset, of ImageNet or a part of it, or of Conceptual Captions."""
    if (source := dataset(name, data_root)) is not None:
        return source.build(("train",), progress).train
    paths = image_paths(name, data_root)
    return ImageFiles(paths, [0] * len(paths))
