"""Read, write and delete files without harm: no hang on a named pipe, no replaced device, nothing deleted through a link.

Imports only the standard library.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SPECIAL: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISDIR, "a folder"),
)
DESCRIPTOR = re.compile(r"/(?:dev|proc/self|proc/\d+)/fd/(\d+)")
STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
READER = 5.0
"""Seconds to wait until somebody reads a named pipe that output goes to."""
TEMPORARY = "[a-z0-9_]{8}"
"""The pattern of the random part that `tempfile` adds to the name of a file that is being written."""

REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than the system's limit for files (`ulimit -f`)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the system does not permit it",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its symbolic links form a loop",
    errno.EMFILE: "this process has too many files open; raise the limit with `ulimit -n 4096`",
    errno.ENFILE: "the machine has too many files open",
    errno.ENOLCK: "the file system there has no lock service (a network drive without locks?)",
    errno.ENOSYS: "the file system there does not offer this",
    errno.EOPNOTSUPP: "the file system there does not offer this",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the network drive no longer knows the file (stale handle)",
    errno.ENODEV: "the disk is gone",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTEMPTY: "the folder holds other files; move them away",
    errno.EEXIST: "a file of that name is in the way",
    errno.ENOENT: "there is no such file or folder",
    errno.EPIPE: "the reader closed it",
    errno.EBUSY: "it is in use",
    errno.ETXTBSY: "it is in use",
}
# Refusals that are about the machine, a disk or a name, and never about an error in a program.
ENVIRONMENT_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EIO, errno.ESTALE, errno.ENODEV),
)


class NotRegular(OSError):
    """A path that leads to a named pipe, a device, a socket or a folder instead of a file."""

    def __init__(self, path: str | Path, mode: int):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        super().__init__(number, f"it is {kind(mode)}, not a file", str(path))


def kind(mode: int) -> str:
    """Return what a file mode says a path is, as a noun: "a named pipe"."""
    return next((name for test, name in SPECIAL if test(mode)), "a file")


def reason(error: OSError) -> str:
    """Return why the system refused, as the end of a sentence: "no space is left on the disk"."""
    if isinstance(error, NotRegular):
        return str(error.strerror)
    return REASONS.get(error.errno or 0, "") or error.strerror or str(error)


def descriptor(path: str | Path) -> int | None:
    """Return the number of this process's open file that a path such as /dev/stdout or /dev/fd/3 names, else None."""
    text = str(path)
    for _ in range(8):
        if text in STANDARD:
            return STANDARD[text]
        match = DESCRIPTOR.fullmatch(text)
        if match is not None:
            other = re.match(r"/proc/(\d+)/", text)
            return int(match[1]) if other is None or int(other[1]) == os.getpid() else None
        # A link to /dev/stdout is /dev/stdout.
        if not os.path.islink(text):
            return None
        text = os.path.normpath(os.path.join(os.path.dirname(text), os.readlink(text)))
    return None


def open_file(path: str | Path) -> io.BufferedReader:
    """Open a regular file for reading. /dev/stdin and /dev/fd/N, as shells make them, may be pipes.

    Raises NotRegular at once for anything else, where `open` would wait for the other end of a named pipe, and OSError.
    """
    # O_NONBLOCK: opening a named pipe waits otherwise. It does nothing to a regular file.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            if not (stat.S_ISFIFO(mode) and descriptor(path) is not None):
                raise NotRegular(path, mode)
            os.set_blocking(handle, True)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file. Raises OSError, also for what is not a file (`open_file`)."""
    with open_file(path) as file:
        return file.read()


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return the content of a text file. Raises OSError, also for what is not a file, and UnicodeDecodeError."""
    return read_bytes(path).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give every OSError the name of the file that was meant: a failed write has none, a failed rename a temporary one."""
    try:
        yield
    except NotRegular:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write one of our files atomically: a temporary file in the same folder, flushed to disk, then renamed.

    A symbolic link in its place is replaced and the file that it leads to stays as it is.

    Raises OSError that names the file when it cannot be written, and NotRegular for a named pipe, a device or a socket in its
    place. What was there before is then unchanged.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise NotRegular(path, mode)
        _replace(path, data, 0o666 & ~_umask())


def _replace(path: Path, data: bytes, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}."[:200])
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files.
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_output(path: str | Path) -> None:
    """Raise OSError where `write_output` cannot write, as far as that shows before: a folder, a socket, a block device."""
    if descriptor(path) is not None:
        return
    if str(path).endswith(os.sep):
        raise NotRegular(path, stat.S_IFDIR)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        # A dangling link names the file that is to be made.
        parent = Path(os.path.realpath(path)).parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None
        return
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        raise NotRegular(path, mode)


def write_output(path: str | Path, data: bytes) -> None:
    """Write a file that the user names (--csv, --html).

    A regular file or a new name is written atomically; of a symbolic link the file that it leads to. A device
    (/dev/stdout, /dev/null) and a named pipe get the bytes and stay what they are.

    Raises OSError that names the file; NotRegular for a folder, a socket or a block device.
    """
    number = descriptor(path)
    with naming(path):
        check_output(path)
        if number is not None:
            with os.fdopen(os.dup(number), "wb", buffering=0) as stream:
                _write_all(stream.fileno(), data)
            return
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            target = Path(os.path.realpath(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(target, data, 0o666 & ~_umask())
            return
        if stat.S_ISREG(mode):
            _replace(Path(os.path.realpath(path)), data, stat.S_IMODE(mode))
            return
        handle = _opened(path, stat.S_ISFIFO(mode))
        try:
            _write_all(handle, data)
        finally:
            os.close(handle)


def _opened(path: str | Path, pipe: bool) -> int:
    """Open a device or a named pipe for writing; a pipe needs a reader within `READER` seconds."""
    until = time.monotonic() + READER
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            break
        except OSError as error:
            if not pipe or error.errno != errno.ENXIO:
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, "nobody reads this named pipe", str(path)) from error
            time.sleep(0.05)
    os.set_blocking(handle, True)
    return handle


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def remove_named(folder: Path, *patterns: str, unfinished: bool = False) -> list[Path]:
    """Delete the files and links of a folder whose whole name matches one of the patterns; return what could not be deleted.

    Nothing happens where the folder is a symbolic link, and a link in it is deleted without what it leads to. Files that are
    being written (`write_bytes`), left by a killed process, match by the name that they were to get; with `unfinished` only
    these are deleted.
    """
    if folder.is_symlink() or not folder.is_dir():
        return []
    written = "|".join(f"(?:{pattern})" for pattern in patterns)
    names = re.compile(f"\\.(?:{written})\\.{TEMPORARY}" if unfinished else f"(?:{written})|\\.(?:{written})\\.{TEMPORARY}")
    left = []
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if names.fullmatch(entry.name)]
    for entry in sorted(found, key=lambda entry: entry.name):
        if not (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
            left.append(Path(entry.path))
            continue
        try:
            os.unlink(entry.path)
        except FileNotFoundError:
            pass
        except OSError:
            left.append(Path(entry.path))
    return left


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
