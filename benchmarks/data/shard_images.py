"""Images inside tar files, read in place and decoded as image files are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from PIL import Image
from torch.utils.data import Dataset

from benchmarks.data.byte_range import ByteRange
from benchmarks.data.images import UNREADABLE, decode, own_reading
from benchmarks.data.opening import Undecodable
from benchmarks.data.survey import Depth
from models.registry import UserError, escaped


class ShardImages(Dataset[tuple[Image.Image, int]]):
    """Images of webdataset shards; items are (PIL image, int), decoded when they are read.

    They are read as users' own image files are (`ImageFiles`, upright). Reading a damaged image raises UserError.

    Args:
        places: where each image is [N].
        targets: the labels [N].
        keys: the names of the samples for messages [N].

    Raises:
        ValueError: for different numbers of places, labels and names.
    """

    threads = True
    upright = True

    def __init__(self, places: Sequence[ByteRange], targets: Sequence[int], keys: Sequence[str]):
        if not len(places) == len(targets) == len(keys):
            raise ValueError(f"{len(places)} places, {len(targets)} targets and {len(keys)} keys differ in number")
        self.places, self.targets, self.keys = list(places), list(targets), list(keys)
        self.depth = Depth([self])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        try:
            return decode(self.source_of(index), "RGB", True, self.depth), self.targets[index]
        except UNREADABLE as error:
            raise UserError(f"Cannot read {self.name_of(index)}: {error}.") from error

    def source_of(self, index: int) -> bytes:
        """Return the bytes of an image's file. Raises OSError, and Undecodable for a shard that has become shorter."""
        place = self.places[index]
        data = place.read()
        if len(data) < place.size:
            raise Undecodable(f"the shard {place.path} is cut short")
        return data

    def name_of(self, index: int) -> str:
        """Return the name of an image in messages."""
        return f"the image of the sample {escaped(self.keys[index])}"

    def fingerprint(self) -> str:
        """Return a digest of the shards' paths, sizes and times, of the images' places, and of how they are read."""
        digest = hashlib.sha256(f"shards {own_reading(self)}\n".encode())
        for shard in sorted({place.path for place in self.places}):
            status = os.stat(shard)
            digest.update(os.fsencode(f"{shard} {status.st_size} {status.st_mtime_ns}\n"))
        for place in self.places:
            digest.update(os.fsencode(f"{place.path} {place.offset} {place.size}\n"))
        return digest.hexdigest()
