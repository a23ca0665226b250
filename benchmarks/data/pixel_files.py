"""Files of decoded images: one tensor uint8 [N, 3, S, S] per file, in the safetensors layout, memory-mapped when read.

The layout (8 bytes with the header's length, a JSON header, the pixels) is that of safetensors, so its readers can open these
files. It is written by hand because the pixels arrive a few at a time and are never in memory together. The header is padded
to whole pages. It has the label, the key, the transform, the SHA-256 of the pixels and the time of the build.

A file is written under a temporary name and renamed when it is complete and on the disk. So a killed build leaves a `.part`
file and nothing that looks finished. A file is valid if its length is right and its modification time is the one in its header.
A file with another time (it was edited or copied), and any file up to `ALWAYS_CHECKED` bytes, is read and compared with its
SHA-256 (about a second per 2 GB). A change that keeps both length and time of a larger file is therefore not noticed. The time
of an empty `.used` file next to it records when a file was last used. Access times cannot be used, because reading a header
changes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

import numpy as np

from benchmarks.data.cache_folder import cache_folder
from models.files import NotRegular, open_file, reason

ALWAYS_CHECKED = 64 * 2**20
VERSIONS = 8
"""The number of files kept per label: for other models' sizes, `--limit`, and the validation splits of other seeds."""
LABEL_BYTES = 24 * 10**9
"""The bytes kept per label; two files are kept even if larger. 64,064 reference images take 9.6 GB at 224 pixels."""
UNUSED_DAYS = 30
"""A file that was not used for this long is deleted when its label gets another file."""

PAGE = 4096
_LONGEST_HEADER = 2**20
_HOUR = 3600
_SUFFIX = ".safetensors"
# Only files whose names this module makes are ever deleted.
_NAME = re.compile(r"(?P<stem>.+)-[0-9a-f]{32}(?P<suffix>\.safetensors(\.used|\.lock)?|\.\d+-[0-9a-f]{8}\.part)")


class CannotWrite(Exception):
    """A file cannot be written: the disk is full, read-only, or access is denied. The text is the reason."""


class Header(NamedTuple):
    """The header of a file. `built` is in seconds since 1970, `offset` is the position of the pixels."""

    label: str
    key: str
    transform: str
    shape: tuple[int, ...]
    digest: str
    built: int
    offset: int

    @property
    def nbytes(self) -> int:
        """The size of the whole file in bytes."""
        return self.offset + math.prod(self.shape)


class Cached(NamedTuple):
    """One cached split: number of images, their side in pixels, the file's size in bytes, and its last use in seconds."""

    label: str
    images: int
    size: int
    bytes: int
    used: float
    path: Path


def pixels_folder() -> Path:
    """Return the default folder of the files."""
    return cache_folder("pixels")


def path_of(folder: Path, label: str, key: str) -> Path:
    """Return the path of the file with a label and a key."""
    return folder / f"{_stem(label)}-{key[:32]}{_SUFFIX}"


def usage(folder: str | Path | None = None) -> list[Cached]:
    """Return the cached files by label, the last used first, without unfinished and foreign files."""
    cached = []
    for path, _ in _files(folder, _SUFFIX):
        with contextlib.suppress(OSError):
            header = read_header(path)
            if header is not None:
                stamp = _stamp(path)
                used = (stamp if stamp.exists() else path).stat().st_mtime
                cached.append(Cached(header.label, header.shape[0], header.shape[-1], path.stat().st_size, used, path))
    return sorted(cached, key=lambda item: (item.label, -item.used))


def clear(label: str | None = None, folder: str | Path | None = None) -> int:
    """Delete the cached images of one label ("eurosat-test"), or of all, including unfinished files.

    Returns:
        The number of bytes freed.
    """
    files = _files(folder, _SUFFIX, ".used", ".part", ".lock")
    return sum(_delete(path) for path, stem in files if label is None or stem == _stem(label))


def load(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the images, uint8 [N, 3, S, S], memory-mapped; None without a valid file of this key and shape."""
    try:
        with open_file(path) as file:
            header = _parse(file)
            if header is None or (header.key, header.shape) != (key, shape) or not _is_valid(file, header):
                return None
            images = _map(file, header)
    except OSError:
        return None
    _mark_used(path, header)
    return images


def read_header(path: Path) -> Header | None:
    """Return the header of a file, or None for a file of another form. Raises OSError if it cannot be opened."""
    with open_file(path) as file:
        return _parse(file)


def write(path: Path, *, label: str, key: str, transform: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write the images of `blocks` (uint8 [n, 3, S, S], together `shape`) one block at a time.

    Errors of `blocks` are not caught. After an error no file is left.

    Raises:
        CannotWrite: if the file cannot be written.
    """
    check_place(path)
    part = path.with_name(f"{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part")
    # Even seconds are the coarsest resolution of file systems, so the time that is read is the one that was set.
    header = Header(label, key, transform, shape, "0" * 64, int(time.time()) // 2 * 2, 0)
    digest = hashlib.sha256()
    try:
        with refusals():
            # Unbuffered, so that a full disk is an error in `write` and not in `close`.
            file = part.open("xb", buffering=0)
        with file:
            _write_all(file, _head(header))
            for block in blocks:
                pixels = np.ascontiguousarray(block).data.cast("B")
                digest.update(pixels)
                _write_all(file, pixels)
            with refusals():
                file.seek(0)
                _write_all(file, _head(header._replace(digest=digest.hexdigest())))
                # A rename can reach the disk before the data: after a power failure the file would hold zeros.
                os.fsync(file.fileno())
        with refusals():
            os.utime(part, (time.time(), header.built))
            os.replace(part, path)
    except BaseException:
        _delete(part)
        raise


def check_place(path: Path) -> None:
    """Raise CannotWrite if the path is a named pipe, a device or a folder, which a rename would replace."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise CannotWrite(reason(NotRegular(path, mode)))


def sweep(path: Path, label: str, need: int = 0) -> None:
    """Delete the files that the file `path`, about to be written with `need` bytes, supersedes. The rules are our choice.

    Of the same label, these are files unused for `UNUSED_DAYS`, and the least recently used ones beyond `VERSIONS` or
    `LABEL_BYTES`. Another key is not a reason, because a user may alternate between the image sizes of two models, or two
    limits. So the file used last is kept, however large it is. Of any label, these are parts that no build has changed for an
    hour.
    """
    now, total = time.time(), need
    others = [item for item in usage(path.parent) if item.label == label and item.path != path]
    for rank, item in enumerate(others):
        total += item.bytes
        superseded = rank >= VERSIONS - 1 or (rank > 0 and total > LABEL_BYTES)
        if superseded or now - item.used > UNUSED_DAYS * 24 * _HOUR:
            _delete(item.path)
            _delete(_stamp(item.path))
    for part, _ in _files(path.parent, ".part"):
        with contextlib.suppress(OSError):
            if now - part.stat().st_mtime > _HOUR:
                _delete(part)


def _stem(label: str) -> str:
    # A label may have characters of a path, and file names are limited to 255 bytes.
    return quote(label, safe=" ")[:120]


def _files(folder: str | Path | None, *suffixes: str) -> list[tuple[Path, str]]:
    """Return the files of this module with one of the suffixes, and the stems in their names."""
    folder = pixels_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        return []
    matches = ((path, _NAME.fullmatch(path.name)) for path in sorted(folder.iterdir()) if path.is_file())
    return [(path, match["stem"]) for path, match in matches if match and match["suffix"].endswith(suffixes)]


def _delete(path: Path) -> int:
    """Delete a file and return the bytes freed: 0 if it does not exist or cannot be deleted."""
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def _head(header: Header) -> bytes:
    content = {
        "__metadata__": {
            "label": header.label,
            "key": header.key,
            "transform": header.transform,
            "sha256": header.digest,
            "built": str(header.built),
        },
        "images": {"dtype": "U8", "shape": header.shape, "data_offsets": [0, math.prod(header.shape)]},
    }
    text = json.dumps(content).encode()
    room = -(-(8 + len(text)) // PAGE) * PAGE - 8
    return struct.pack("<Q", room) + text.ljust(room)


def _parse(file: BinaryIO) -> Header | None:
    try:
        (room,) = struct.unpack("<Q", file.read(8))
        if room > _LONGEST_HEADER:
            return None
        content = json.loads(file.read(room))
        metadata, shape = content["__metadata__"], tuple(map(int, content["images"]["shape"]))
        if len(shape) != 4:
            return None
        label, key, transform = (str(metadata[name]) for name in ("label", "key", "transform"))
        return Header(label, key, transform, shape, str(metadata["sha256"]), int(metadata["built"]), 8 + room)
    except (struct.error, ValueError, KeyError, TypeError):
        return None


def _is_valid(file: BinaryIO, header: Header) -> bool:
    status = os.fstat(file.fileno())
    if status.st_size != header.nbytes:
        return False
    if status.st_size > ALWAYS_CHECKED and int(status.st_mtime) == header.built:
        return True
    file.seek(header.offset)
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest() == header.digest


def _map(file: BinaryIO, header: Header) -> np.ndarray:
    try:
        # Copy on write: torch warns about arrays that are not writable, and writes do not reach the file.
        return np.memmap(file, np.uint8, "c", header.offset, header.shape)
    except OSError:
        # Linux refuses a private writable map that is larger than the machine's memory, but not a read-only one.
        return np.memmap(file, np.uint8, "r", header.offset, header.shape)


def _mark_used(path: Path, header: Header) -> None:
    # In a shared cache this may not be permitted.
    with contextlib.suppress(OSError):
        _stamp(path).touch()
        if int(path.stat().st_mtime) != header.built:
            os.utime(path, (time.time(), header.built))


def _stamp(path: Path) -> Path:
    return Path(f"{path}.used")


def _write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    with refusals():
        while rest:
            rest = rest[file.write(rest) :]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raise CannotWrite for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(reason(error)) from error
