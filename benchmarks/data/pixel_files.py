"""Files of decoded images: one tensor uint8 [N, 3, S, S] a file, in the safetensors layout, mapped into memory when read.

The layout (8 bytes with the header's length, a JSON header, the pixels) is safetensors' own, so that its readers open these
files too; it is written here by hand because the pixels arrive a few at a time and never are in memory together. The header
is padded to whole pages and says what the file is: label, key, the transform, the SHA-256 of the pixels, when it was built.

A file is written under a temporary name and renamed when it is whole and on the disk, so a killed build leaves a `.part`
file and nothing that looks finished. A file is taken for sound when its length is right and its modification time is the one
in its header, as nothing else keeps that time; a file whose time is another one (edited, or copied), and any file up to
`ALWAYS_CHECKED` bytes, is read through and compared with its SHA-256 (about a second per 2 GB). So a change that keeps both
length and time of a larger file goes unnoticed. When a file was last used is the time of an empty `.used` file beside it:
access times do not do, as looking at a header changes them.
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
"""Files kept of one label: other models' sizes, `--limit`, other seeds' validation splits."""
LABEL_BYTES = 24 * 10**9
"""Bytes kept of one label, or two files where they are larger: 64,064 reference images take 9.6 GB at 224 pixels."""
UNUSED_DAYS = 30
"""A file that nobody opened for so long is superseded once its label gets another one."""

PAGE = 4096
_LONGEST_HEADER = 2**20
_HOUR = 3600
_SUFFIX = ".safetensors"
# Deleting goes by name: only names that this module makes.
_NAME = re.compile(r"(?P<stem>.+)-[0-9a-f]{32}(?P<suffix>\.safetensors(\.used|\.lock)?|\.\d+-[0-9a-f]{8}\.part)")


class CannotWrite(Exception):
    """The disk refuses: full, read-only, not allowed. Its text is the reason."""


class Header(NamedTuple):
    """What a file says of itself; `built` is in seconds since 1970, `offset` where the pixels begin."""

    label: str
    key: str
    transform: str
    shape: tuple[int, ...]
    digest: str
    built: int
    offset: int

    @property
    def nbytes(self) -> int:
        return self.offset + math.prod(self.shape)


class Cached(NamedTuple):
    """One cached split: how many images, their side in pixels, the file's size in bytes, when it was last used (seconds)."""

    label: str
    images: int
    size: int
    bytes: int
    used: float
    path: Path


def pixels_folder() -> Path:
    return cache_folder("pixels")


def path_of(folder: Path, label: str, key: str) -> Path:
    return folder / f"{_stem(label)}-{key[:32]}{_SUFFIX}"


def usage(folder: str | Path | None = None) -> list[Cached]:
    """What is cached, by label, the last used first. Files that are not finished or not ours are left out."""
    found = []
    for path, _ in _files(folder, _SUFFIX):
        with contextlib.suppress(OSError):
            header = read_header(path)
            if header is not None:
                stamp = _stamp(path)
                used = (stamp if stamp.exists() else path).stat().st_mtime
                found.append(Cached(header.label, header.shape[0], header.shape[-1], path.stat().st_size, used, path))
    return sorted(found, key=lambda item: (item.label, -item.used))


def clear(label: str | None = None, folder: str | Path | None = None) -> int:
    """Delete the cached images of one label ("eurosat-test"), or all, unfinished ones too. Bytes freed."""
    found = _files(folder, _SUFFIX, ".used", ".part", ".lock")
    return sum(_delete(path) for path, stem in found if label is None or stem == _stem(label))


def load(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The images, uint8 [N, 3, S, S], mapped and not read; None where there is no sound file of this key and shape."""
    try:
        with open_file(path) as file:
            header = _parse(file)
            if header is None or (header.key, header.shape) != (key, shape) or not _sound(file, header):
                return None
            images = _map(file, header)
    except OSError:
        return None
    _mark_used(path, header)
    return images


def read_header(path: Path) -> Header | None:
    """Raises OSError for a file that cannot be opened."""
    with open_file(path) as file:
        return _parse(file)


def write(path: Path, *, label: str, key: str, transform: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write `blocks` (uint8 [n, 3, S, S], together `shape`) as they come. What `blocks` raises passes through.

    Raises CannotWrite when the disk refuses. No file is left behind in either case.
    """
    check_place(path)
    part = path.with_name(f"{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part")
    # Even seconds: the coarsest time that file systems keep, so the time read back is the one that was set.
    header = Header(label, key, transform, shape, "0" * 64, int(time.time()) // 2 * 2, 0)
    digest = hashlib.sha256()
    try:
        with refusals():
            # Unbuffered, so that a full disk shows in `write` and never again in `close`.
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
                # A rename can reach the disk before the data does: after a power cut the name would hold zeros.
                os.fsync(file.fileno())
        with refusals():
            os.utime(part, (time.time(), header.built))
            os.replace(part, path)
    except BaseException:
        _delete(part)
        raise


def check_place(path: Path) -> None:
    """Raise CannotWrite for a named pipe, a device or a folder in the place of a file, which a rename would replace."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise CannotWrite(reason(NotRegular(path, mode)))


def sweep(path: Path, label: str, need: int = 0) -> None:
    """Delete what the file `path`, about to be written with `need` bytes, supersedes.

    Of the same label that is: files unused for `UNUSED_DAYS`, and the least recently used beyond `VERSIONS` or
    `LABEL_BYTES`. A file is not superseded because its key differs: somebody may go back and forth between two models'
    sizes, or two limits, so the one used last stays however large it is. Of any label: parts that no build has touched for
    an hour. Our choice.
    """
    now, total = time.time(), need
    others = [item for item in usage(path.parent) if item.label == label and item.path != path]
    for place, item in enumerate(others):
        total += item.bytes
        many = place >= VERSIONS - 1 or (place > 0 and total > LABEL_BYTES)
        if many or now - item.used > UNUSED_DAYS * 24 * _HOUR:
            _delete(item.path)
            _delete(_stamp(item.path))
    for part, _ in _files(path.parent, ".part"):
        with contextlib.suppress(OSError):
            if now - part.stat().st_mtime > _HOUR:
                _delete(part)


def _stem(label: str) -> str:
    # A label may hold a path's characters, and file names end at 255 bytes.
    return quote(label, safe=" ")[:120]


def _files(folder: str | Path | None, *suffixes: str) -> list[tuple[Path, str]]:
    """Our files that end so, and the stems in their names."""
    where = pixels_folder() if folder is None else Path(folder)
    if not where.is_dir():
        return []
    matches = ((path, _NAME.fullmatch(path.name)) for path in sorted(where.iterdir()) if path.is_file())
    return [(path, match["stem"]) for path, match in matches if match and match["suffix"].endswith(suffixes)]


def _delete(path: Path) -> int:
    """Bytes freed: 0 when it is not there, or somebody's that we may not delete."""
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


def _head(header: Header) -> bytes:
    described = {
        "__metadata__": {
            "label": header.label,
            "key": header.key,
            "transform": header.transform,
            "sha256": header.digest,
            "built": str(header.built),
        },
        "images": {"dtype": "U8", "shape": header.shape, "data_offsets": [0, math.prod(header.shape)]},
    }
    text = json.dumps(described).encode()
    room = -(-(8 + len(text)) // PAGE) * PAGE - 8
    return struct.pack("<Q", room) + text.ljust(room)


def _parse(file: BinaryIO) -> Header | None:
    try:
        (room,) = struct.unpack("<Q", file.read(8))
        if room > _LONGEST_HEADER:
            return None
        described = json.loads(file.read(room))
        about, shape = described["__metadata__"], tuple(map(int, described["images"]["shape"]))
        if len(shape) != 4:
            return None
        label, key, transform = (str(about[name]) for name in ("label", "key", "transform"))
        return Header(label, key, transform, shape, str(about["sha256"]), int(about["built"]), 8 + room)
    except (struct.error, ValueError, KeyError, TypeError):
        return None


def _sound(file: BinaryIO, header: Header) -> bool:
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
        # Copy on write: torch takes only writable arrays without a warning, and nothing that writes reaches the file.
        return np.memmap(file, np.uint8, "c", header.offset, header.shape)
    except OSError:
        # Linux refuses a private writable map larger than the machine's memory; a read-only one it never counts.
        return np.memmap(file, np.uint8, "r", header.offset, header.shape)


def _mark_used(path: Path, header: Header) -> None:
    # A shared cache may not allow it.
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
    """Makes an OSError a CannotWrite."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(reason(error)) from error
