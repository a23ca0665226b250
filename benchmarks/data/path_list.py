"""A compact list of paths, which loader processes share with their parent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class PathList(Sequence[str]):
    """An immutable list of paths in one block of bytes.

    A forked process shares the pages of its parent until either writes to them. Python writes to every string that it reads,
    because the string counts its references, so each loader process would soon have a private copy of a list of strings. This
    block is only read. It also takes half of the memory (docs/speed.md, "A listing of ImageNet's size").

    Args:
        paths: the paths.

    Example:
        >>> PathList(["a/1.jpg", "b/2.jpg"])[1]
        'b/2.jpg'
    """

    def __init__(self, paths: Iterable[str]):
        encoded = [path.encode("utf-8", "surrogatepass") for path in paths]
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self._bytes = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (PathList, list)) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"PathList({list(self)!r})"
