"""Images in a Hugging Face dataset (the user's own or a copy of a paper's), decoded as image files are."""

from __future__ import annotations

import hashlib
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from benchmarks.data.images import UNREADABLE, decode, own_reading
from benchmarks.data.opening import Undecodable
from benchmarks.data.survey import Depth
from models.registry import UserError


class HubImages(Dataset[tuple[Image.Image, int]]):
    """One column of images of a `datasets.Dataset`; items are (PIL image, int), decoded when they are read.

    Images are decoded here and not by `datasets`, which turns photographs by their EXIF data and lets Pillow clip 16-bit
    greyscale. So an image has the same pixels in a hub copy and in a file. Reading a damaged image raises UserError.

    Args:
        rows: a `datasets.Dataset`.
        column: the column of `rows` that holds images, or the bytes of image files.
        targets: the labels [N].
        where: the name of the dataset in messages.
        mode: as in `ImageFiles`.
        upright: as in `ImageFiles`.
        source: the origin of the images for the fingerprint; None for the fingerprint of `rows`.
        by_number: the dataset's class names could not be used to order its labels.
    """

    # `datasets` may not be thread-safe.
    threads = False

    def __init__(
        self,
        rows: Any,
        column: str,
        targets: list[int],
        where: str,
        *,
        mode: str | None = "RGB",
        upright: bool = False,
        source: str | None = None,
        by_number: bool = False,
    ):
        import datasets

        # A saved dataset may have a format such as tensors. Without a format, images are the bytes of their files.
        chosen = rows.select_columns([column]).with_format(None)
        self.rows = chosen.cast_column(column, datasets.Image(decode=False))
        self.column, self.targets, self.where = column, targets, where
        self.mode, self.upright, self.source, self.by_number = mode, upright, source, by_number
        self.depth = Depth([self])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        try:
            return decode(self.source_of(index), self.mode, self.upright, self.depth), self.targets[index]
        except UNREADABLE as error:
            raise UserError(f"Cannot read {self.name_of(index)}: {error}.") from error

    def source_of(self, index: int) -> str | bytes:
        """Return the bytes of an image's file, or its path. Raises Undecodable for an empty cell."""
        stored = self.rows[int(index)][self.column]
        if stored is None:
            raise Undecodable("the cell is empty")
        content: str | bytes = stored["path"] if stored["bytes"] is None else stored["bytes"]
        return content

    def name_of(self, index: int) -> str:
        """Return the name of an image in messages."""
        return f"image {index} of {self.where}"

    def fingerprint(self) -> str:
        """Return a digest of the images' origin and of how they are read."""
        text = f"{self.source or self.rows._fingerprint} {self.column} {self.mode} {own_reading(self)}"
        return hashlib.sha256(text.encode()).hexdigest()
