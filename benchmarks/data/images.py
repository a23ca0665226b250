"""Datasets of image files and arrays, decoded one image at a time, and their fingerprints.

A fingerprint identifies the pixels of a dataset without reading them. Caches of decoded images are keyed by it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import ConcatDataset, Dataset, Subset

from benchmarks.data.dataset import Relabelled
from benchmarks.data.depth import Scales, converted, kind_of, mark, own_rgb
from benchmarks.data.opening import MISSING, opened
from benchmarks.data.path_list import PathList
from benchmarks.data.survey import Depth
from models.registry import UserError, printable
from models.transforms import eight_bit

# The errors of decoding a damaged or missing image.
UNREADABLE = (OSError, ValueError)


class ImageFiles(Dataset[tuple[Image.Image, int]]):
    """Image files with labels; items are (PIL image, int).

    Reading an image that is missing or damaged raises UserError with the name of the file.

    Args:
        paths: the files [N].
        targets: the labels [N], integers in 0..C-1.
        mode: the mode that images are converted to when they are read, as torchvision's loaders do. None keeps the stored mode.
        upright: read the files as users' own. Photographs are turned according to their EXIF data, transparency is laid over
            white, and deep greyscale is scaled by `depth`, which all splits of a domain share (`share_depth`). If False,
            files are read as torchvision's loaders read them, which is right for the papers' datasets.

    Raises:
        ValueError: for different numbers of paths and labels.
    """

    threads = True

    def __init__(self, paths: Sequence[str | Path], targets: Sequence[int], mode: str | None = "RGB", upright: bool = False):
        if len(paths) != len(targets):
            raise ValueError(f"{len(paths)} paths but {len(targets)} targets")
        self.paths = PathList(map(str, paths))
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
        """Return the name of an image in messages."""
        return f"the image {printable(self.paths[index])}"

    def fingerprint(self) -> str:
        """Return a digest of the files' absolute paths, sizes and times, and of how they are read.

        It is computed once: every step of a class-incremental benchmark may ask a split for it.

        Raises:
            UserError: for a missing file.
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


class ArrayImages(Dataset[tuple[Image.Image, int]]):
    """Images in one array; items are (PIL image, int).

    Args:
        images: uint8 [N, H, W] (greyscale) or [N, H, W, 3].
        targets: the labels [N].
        source: the origin of the array for the fingerprint, for example a file with its size and time.

    Raises:
        ValueError: for another type or shape, and for different numbers of images and labels.
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
        """Return a digest of the array's source and shape."""
        return hashlib.sha256(f"{self.source} {self.images.shape}".encode()).hexdigest()


def read_image(path: str | Path, mode: str | None = "RGB", upright: bool = False, depth: Scales | None = None) -> Image.Image:
    """Return the image in a file, fully decoded; the arguments are those of `decode`.

    Raises:
        UserError: naming the file, if it is missing or damaged.
    """
    try:
        return decode(path, mode, upright, depth)
    except FileNotFoundError as error:
        raise UserError(f"The image {printable(str(path))} is missing.") from error
    except UNREADABLE as error:
        raise UserError(unreadable_sentence(f"the image {printable(str(path))}", str(error))) from error


def unreadable_sentence(name: str, reason: str) -> str:
    """Return the message about an image that cannot be read."""
    return f"{name[:1].upper()}{name[1:]} is missing." if reason == MISSING else f"Cannot read {name}: {reason}."


def decode(source: str | Path | bytes, mode: str | None, upright: bool, depth: Scales | None = None) -> Image.Image:
    """Return the image in a file, or in the bytes of a file.

    Args:
        source: the path or the bytes.
        mode: as in `ImageFiles`.
        upright: as in `ImageFiles`.
        depth: the scales of deep greyscale images. If None, the scale follows from this image only.

    Raises:
        FileNotFoundError: for a path that does not exist.
        Undecodable: with the reason, for a damaged image.
    """
    with opened(source) as image:
        if not upright:
            image.load()
            # It changes no pixel here, but Pillow would warn about it.
            image.info.pop("transparency", None)
            return image.copy() if mode is None else converted(eight_bit(image), mode)
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
    """Return the distinct datasets of the user's own images in splits."""
    leaves = [leaf for split in splits for leaf in _leaves(split)]
    users = [leaf for leaf in leaves if isinstance(getattr(leaf, "depth", None), Depth) and leaf.upright]
    return list({id(leaf): leaf for leaf in users}.values())


def own_reading(dataset: Any) -> str:
    """Describe for fingerprints how a dataset's images are read; for users' own images this includes the scales."""
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
        # 1, or no tag, is upright. In that case `exif_transpose` would only copy the image.
        return image if image.getexif().get(0x0112, 1) == 1 else ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return image  # an image with damaged EXIF data is still usable


def file_source(*paths: str | Path) -> str:
    """Return the absolute paths, sizes and times of files: the `source` of arrays read from them."""
    parts = []
    for path in paths:
        status = Path(path).stat()
        parts.append(f"{os.path.abspath(path)} {status.st_size} {status.st_mtime_ns}")
    return "\n".join(parts)


def fingerprint_of(dataset: Any) -> str | None:
    """Return a digest that identifies the pixels of a dataset; labels do not count.

    Returns:
        The digest, or None for a user's dataset object without a method `fingerprint()`.
    """
    if isinstance(dataset, Subset):
        inner = fingerprint_of(dataset.dataset)
        return None if inner is None else _digest(inner, *map(str, dataset.indices))
    if isinstance(dataset, Relabelled) and not hasattr(dataset, "depth"):
        return fingerprint_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = [fingerprint_of(part) for part in dataset.datasets]
        return None if None in parts else _digest("concat", *map(str, parts))
    method = getattr(dataset, "fingerprint", None)
    fingerprint = method() if callable(method) else None
    return None if fingerprint is None else str(fingerprint)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
