"""Read the files in fetched packages without unpacking or installing them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from models.registry import UserError, first_line

Files = dict[str, bytes]
"""Contents by path inside the package, in sorted order. Links are left out."""

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def files(path: Path, wanted: Callable[[str], bool]) -> Files:
    """Return the files of a package whose paths are wanted.

    Args:
        path: a tar.gz file of npm, a wheel or a Debian package.
        wanted: called with each path, such as "package/icons.json" or "usr/share/pychess/pieces/kosal/wk.svg".

    Raises:
        UserError: if the package cannot be read.
    """
    try:
        if path.suffix == ".whl":
            return _zipped(path, wanted)
        archive = io.BytesIO(_data_of_debian(path.read_bytes())) if path.suffix == ".deb" else path.open("rb")
        with archive, tarfile.open(fileobj=archive) as package:
            return _tarred(package, wanted)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"Cannot read {path}: {first_line(error)}. Remove the file and start again.") from error


def _zipped(path: Path, wanted: Callable[[str], bool]) -> Files:
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in sorted(wheel.namelist()) if wanted(name)}


def _tarred(package: tarfile.TarFile, wanted: Callable[[str], bool]) -> Files:
    members = {member.name.removeprefix("./"): member for member in package.getmembers() if member.isfile()}
    return {
        name: file.read()
        for name, member in sorted(members.items())
        if wanted(name) and (file := package.extractfile(member)) is not None
    }


def _data_of_debian(content: bytes) -> bytes:
    """Return the compressed tar file with the files of a Debian package, an `ar` archive with headers of 60 bytes."""
    if not content.startswith(_AR_MAGIC):
        raise ValueError("it is not a Debian package")
    start = len(_AR_MAGIC)
    while start + _AR_HEADER <= len(content):
        name = content[start : start + 16].decode("ascii").strip().rstrip("/")
        size = int(content[start + 48 : start + 58])
        start += _AR_HEADER
        if name.startswith("data.tar"):
            return content[start : start + size]
        start += size + size % 2
    raise ValueError("it has no data.tar")
