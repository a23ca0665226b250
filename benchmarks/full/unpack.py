"""Unpack archives safely.

Absolute paths, "..", symbolic links and devices are refused, and existing files are never overwritten.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from benchmarks.data.progress import Progress
from benchmarks.full.download import Damaged, check_room
from models.files import reason
from models.registry import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# macOS adds this folder to archives. It has no data.
CLUTTER = "__MACOSX"


class Refused(UserError):
    """An archive with a member outside the target folder."""


def is_archive(name: str) -> bool:
    """Return whether a file name is that of an archive or of a compressed file (".gz")."""
    return name.lower().endswith((".zip", ".gz", *TARS))


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack a zip file, a tar file (compressed or not) or a .gz file into a folder that does not exist yet.

    After an error the caller deletes the folder.

    Raises:
        Refused: for a member outside the folder. Nothing of that member is written.
        Damaged: for an incomplete archive.
        UserError: for a full disk.
    """
    folder.mkdir(parents=True)
    name = archive.name.lower()
    what = f"unpacking {archive.name}"
    try:
        if name.endswith(TARS):
            _tar(archive, folder, progress, what)
        elif name.endswith(".zip"):
            _zip(archive, folder, progress, what)
        else:
            _gzip(archive, folder / archive.stem, progress, what)
    except UserError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError) as error:
        raise Damaged(f"Cannot unpack {archive}: it is damaged or incomplete ({error}).") from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile: unknown compression, or a password
        raise Damaged(f"Cannot unpack {archive}: {error}.") from error
    except OSError as error:
        raise UserError(f"Cannot unpack {archive} into {folder}: {reason(error)}.") from error


def _inside(archive: Path, name: str) -> PurePosixPath | None:
    """Return the path of a member, or None for clutter. Raises Refused for a path that is not below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive or "\0" in name:
        raise Refused(f"{archive} was not unpacked: its member {name!r} is outside the folder.")
    return None if CLUTTER in path.parts else path


def _zip(archive: Path, folder: Path, progress: Progress, what: str) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        total = sum(member.file_size for member in members)
        check_room(folder, total, f"Unpacking {archive.name}")
        done = 0
        for member in members:
            # zipfile cleans names: the original one shows an unsafe path.
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"{archive} was not unpacked: its member {member.filename!r} is a link or a device.")
            if _inside(archive, member.orig_filename) is not None:
                file.extract(member, folder)
            done += member.file_size
            progress(done, total, what)


def _tar(archive: Path, folder: Path, progress: Progress, what: str) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"Unpacking {archive.name} safely needs Python 3.11.4 or newer. Update Python, or unpack it by hand.")
    total = archive.stat().st_size
    check_room(folder, total, f"Unpacking {archive.name}")
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as file:
        for member in file:
            path = _inside(archive, member.name)
            # Hard links are safe: their target was unpacked before, and without symbolic links it is below the folder.
            if not (member.isfile() or member.isdir() or member.islnk()):
                raise Refused(f"{archive} was not unpacked: its member {member.name!r} is a link or a device.")
            if member.islnk():
                _inside(archive, member.linkname)
            if path is not None:
                file.extract(member, folder, filter="data")
            progress(min(raw.tell(), total), total, what)


def _gzip(archive: Path, path: Path, progress: Progress, what: str) -> None:
    total = archive.stat().st_size
    with archive.open("rb") as raw, gzip.open(raw) as source, path.open("xb") as target:
        while chunk := source.read(2**20):
            target.write(chunk)
            progress(min(raw.tell(), total), total, what)
    # torchvision keeps the archive too. Its checksum can be verified later.
    shutil.copy(archive, path.parent / archive.name)
