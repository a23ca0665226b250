"""Datasets of images: files on disk, or arrays, decoded one image at a time, and where they come from as a fingerprint.

A fingerprint says which pixels a dataset holds without reading them; caches of decoded images are keyed by it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import ConcatDataset, Dataset, Subset

from benchmarks.data.depth import Depth, kind_of, mark, own_rgb
from benchmarks.data.domain import targets_of
from benchmarks.data.opening import MISSING, opened
from models.registry import UserError, printable
from models.transforms import eight_bit

# What decoding a damaged or missing image raises.
UNREADABLE = (OSError, ValueError)


class ImageFiles(Dataset):
    """Image files with labels; items are (PIL image, int).

    `paths` [N] and `targets` [N] (ints in 0..C-1). Images are converted to `mode` when they are read, as torchvision's
    loaders do; None leaves them as they are stored.

    `upright` is for users' own files: photographs are turned as their EXIF data says, transparency is laid over white, and
    deep greyscale is scaled by `depth`, which all splits of a domain share (`share_depth`). The papers' files are read as
    torchvision's loaders read them.

    Reading an image that is missing or damaged raises UserError, naming the file.
    """

    threads = True

    def __init__(self, paths: Sequence[str | Path], targets: Sequence[int], mode: str | None = "RGB", upright: bool = False):
        if len(paths) != len(targets):
            raise ValueError(f"{len(paths)} paths but {len(targets)} targets")
        self.paths = [str(path) for path in paths]
        self.targets = [int(target) for target in targets]
        self.mode, self.upright = mode, upright
        self.depth = Depth([self])
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return read_image(self.paths[index], self.mode, self.upright, self.depth), self.targets[index]

    def source_of(self, index: int) -> str:
        """Return the path of an image."""
        return self.paths[index]

    def name_of(self, index: int) -> str:
        """Return what messages call an image."""
        return f"the image {printable(self.paths[index])}"

    def fingerprint(self) -> str:
        """Of the files' absolute paths, sizes and times, and of how they are read. Raises UserError for a missing file.

        Worked out once: a split may be asked for it by every step of a class-incremental benchmark.
        """
        if self._fingerprint is None:
            self._fingerprint = self._digest()
        return self._fingerprint

    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self.mode!r} {own_reading(self)}".encode())
        for path in self.paths:
            try:
                status = os.stat(path)
            except OSError as error:
                raise UserError(f"The image {printable(str(path))} is missing.") from error
            digest.update(os.fsencode(f"{os.path.abspath(path)}\n{status.st_size} {status.st_mtime_ns}\n"))
        return digest.hexdigest()


class ArrayImages(Dataset):
    """Images in one array, uint8 [N, H, W] (greyscale) or [N, H, W, 3]; items are (PIL image, int).

    `source` says where the array comes from (a file with its size and time, say) for the fingerprint.
    """

    def __init__(self, images: np.ndarray, targets: Sequence[int], source: str):
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(f"images must be uint8 [N, H, W] or [N, H, W, 3], got {images.dtype} {images.shape}")
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images but {len(targets)} targets")
        self.images = images
        self.targets = [int(target) for target in targets]
        self.source = source

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), self.targets[index]

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.source} {self.images.shape}".encode()).hexdigest()


class Relabelled(Dataset):
    """The images of another dataset with other labels: `labels` maps each old label to the new one."""

    def __init__(self, dataset: Any, labels: Mapping[int, int]):
        self.dataset = dataset
        self.targets = [labels[target] for target in targets_of(dataset)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[index][0], self.targets[index]


def read_image(path: str | Path, mode: str | None = "RGB", upright: bool = False, depth: Depth | None = None) -> Image.Image:
    """Return the image in a file, decoded whole. Raises UserError, naming the file, when it is missing or damaged."""
    try:
        return decode(path, mode, upright, depth)
    except FileNotFoundError as error:
        raise UserError(f"The image {printable(str(path))} is missing.") from error
    except UNREADABLE as error:
        raise UserError(unreadable_sentence(f"the image {printable(str(path))}", str(error))) from error


def unreadable_sentence(name: str, reason: str) -> str:
    """Return the message about an image that cannot be read."""
    return f"{name[:1].upper()}{name[1:]} is missing." if reason == MISSING else f"Cannot read {name}: {reason}."


def decode(source: str | Path | bytes, mode: str | None, upright: bool, depth: Depth | None = None) -> Image.Image:
    """Return the image in a file, or in the bytes of one; see `ImageFiles`.

    Without `depth` the scale of a deep greyscale image follows from that image.

    Raises:
        FileNotFoundError: a path that does not exist.
        Undecodable: with the reason in words.
    """
    with opened(source) as image:
        if not upright:
            image.load()
            # It changes no pixel here, and costs a warning.
            image.info.pop("transparency", None)
            return image.copy() if mode is None else eight_bit(image).convert(mode)
        kind = kind_of(image)
        mark(image)
        image.load()
        turned = _upright(image)
        if mode is None:
            return turned.copy()
        colour = own_rgb(turned, kind, depth)
        return colour if mode == colour.mode else colour.convert(mode)


def share_depth(*splits: Any) -> None:
    """Give the user's own images in several splits one `Depth`, so that a value has the same brightness in each of them."""
    datasets = own_datasets(*splits)
    if any(dataset.depth is not datasets[0].depth for dataset in datasets):
        depth = Depth(datasets)
        for dataset in datasets:
            dataset.depth = depth


def own_datasets(*splits: Any) -> list[Any]:
    """Return the datasets of the user's own images in splits, each once."""
    leaves = [leaf for split in splits for leaf in _leaves(split)]
    return list(
        {id(leaf): leaf for leaf in leaves if isinstance(getattr(leaf, "depth", None), Depth) and leaf.upright}.values()
    )


def own_reading(dataset: Any) -> str:
    """Return how a dataset's images are read, for fingerprints: with the scales of deep images, for the user's own."""
    if not dataset.upright:
        return "False"
    return f"own {sorted(dataset.depth.survey().scales.items())}"


def _leaves(dataset: Any) -> list[Any]:
    if isinstance(dataset, ConcatDataset):
        return [leaf for part in dataset.datasets for leaf in _leaves(part)]
    if isinstance(dataset, (Subset, Relabelled)) and not hasattr(dataset, "depth"):
        return _leaves(dataset.dataset)
    return [] if dataset is None else [dataset]


def _upright(image: Image.Image) -> Image.Image:
    try:
        # 1, or nothing, is upright: without it `exif_transpose` would copy the image.
        return image if image.getexif().get(0x0112, 1) == 1 else ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return image  # damaged EXIF data is no reason to do without the image


def file_source(*paths: str | Path) -> str:
    """Absolute paths with sizes and times: the `source` of arrays read from them."""
    parts = []
    for path in paths:
        status = Path(path).stat()
        parts.append(f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(parts)


def fingerprint_of(dataset: Any) -> str | None:
    """What identifies the pixels of a dataset (labels are no part of it).

    None for a dataset that cannot say: a user's object without `fingerprint()`.
    """
    if isinstance(dataset, Subset):
        inner = fingerprint_of(dataset.dataset)
        return None if inner is None else _digest(inner, *map(str, dataset.indices))
    if isinstance(dataset, Relabelled) and not hasattr(dataset, "depth"):
        return fingerprint_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = [fingerprint_of(part) for part in dataset.datasets]
        return None if None in parts else _digest("concat", *map(str, parts))
    own = getattr(dataset, "fingerprint", None)
    found = own() if callable(own) else None
    return None if found is None else str(found)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
