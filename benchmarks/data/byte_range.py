"""A range of bytes in a file, such as one member of a tar file."""

from __future__ import annotations

from typing import NamedTuple


class ByteRange(NamedTuple):
    """`size` bytes of the file `path`, from `offset` on."""

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the bytes, fewer than `size` if the file is shorter. Raises OSError for an unreadable file."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)
