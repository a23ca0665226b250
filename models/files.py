"""Read, write and delete files safely: no hang on a named pipe, no replaced device, nothing deleted through a link.

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
"""Seconds to wait for a reader of a named pipe that output is written to."""
TEMPORARY = "[a-z0-9_]{8}"
"""Pattern of the random part of a temporary file's name."""

REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file is larger than the system's limit for files (`ulimit -f`)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the system does not permit the operation",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its symbolic links form a loop",
    errno.EMFILE: "this process has too many files open; raise the limit with `ulimit -n 4096`",
    errno.ENFILE: "the machine has too many files open",
    errno.ENOLCK: "the file system has no lock service (a network drive without locks?)",
    errno.ENOSYS: "the file system does not support the operation",
    errno.EOPNOTSUPP: "the file system does not support the operation",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the network drive no longer knows the file (stale handle)",
    errno.ENODEV: "the disk is no longer present",
    errno.ENOTDIR: "one component of the path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOTEMPTY: "the folder holds other files; move them away",
    errno.EEXIST: "a file of that name exists",
    errno.ENOENT: "the file or folder does not exist",
    errno.EPIPE: "the reader closed it",
    errno.EBUSY: "it is in use",
    errno.ETXTBSY: "it is in use",
}
# Errors of the machine, a disk or a name, which are never a bug of a program.
ENVIRONMENT_ERRNOS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EIO, errno.ESTALE, errno.ENODEV),
)


class NotRegular(OSError):
    """A path that is a named pipe, a device, a socket or a folder instead of a file."""

    def __init__(self, path: str | Path, mode: int):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        super().__init__(number, f"it is {kind(mode)}, not a file", str(path))


def kind(mode: int) -> str:
    """Return the kind of a path by its file mode, as a noun: "a named pipe"."""
    return next((name for test, name in SPECIAL if test(mode)), "a file")


def reason(error: OSError) -> str:
    """Return the system's reason for an error, as the end of a sentence: "no space is left on the disk"."""
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
    """Open a regular file for reading. /dev/stdin and /dev/fd/N may be pipes, as shells make them.

    Raises:
        NotRegular: the path is not a file. `open` would wait for the other end of a named pipe instead.
        OSError: the file cannot be opened.
    """
    # O_NONBLOCK: otherwise opening a named pipe waits. It has no effect on a regular file.
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
    """Return the content of a file. Raises OSError, also if the path is not a file (`open_file`)."""
    with open_file(path) as file:
        return file.read()


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return the content of a text file. Raises OSError, also if the path is not a file, and UnicodeDecodeError."""
    return read_bytes(path).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give every OSError the name of the intended file: a failed write has no name, a failed rename a temporary one."""
    try:
        yield
    except NotRegular:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write one of our files atomically: a temporary file in the same folder, flushed to disk, then renamed.

    A symbolic link at the path is replaced, and its target is not changed.

    Raises:
        OSError: the file cannot be written. The error names the file, and the previous content is unchanged.
        NotRegular: the path is a named pipe, a device or a socket.
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
    """Write a temporary file next to the path and rename it to the path."""
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
    """Raise OSError if `write_output` could not write to a path, as far as can be known beforehand.

    That is so for a folder, a socket, a block device, and a parent folder that cannot be written.
    """
    if descriptor(path) is not None:
        return
    if str(path).endswith(os.sep):
        raise NotRegular(path, stat.S_IFDIR)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        # A dangling link names the file that will be created.
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

    A regular file or a new name is written atomically. For a symbolic link, its target is written. A device (/dev/stdout,
    /dev/null) or a named pipe receives the bytes and is not replaced.

    Raises:
        OSError: the file cannot be written. The error names the file.
        NotRegular: the path is a folder, a socket or a block device.
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
    """Open a device or a named pipe for writing. A pipe needs a reader within `READER` seconds."""
    deadline = time.monotonic() + READER
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            break
        except OSError as error:
            if not pipe or error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise OSError(errno.ENXIO, "nobody reads this named pipe", str(path)) from error
            time.sleep(0.05)
    os.set_blocking(handle, True)
    return handle


def _write_all(handle: int, data: bytes) -> None:
    """Write all bytes to an open file."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(handle, remaining) :]


def remove_named(folder: Path, *patterns: str, unfinished: bool = False) -> list[Path]:
    """Delete the files and links of a folder whose whole name matches a pattern. Return the paths that could not be deleted.

    Nothing is deleted if the folder is a symbolic link. A link inside it is deleted without its target. Files that a killed
    process left while writing (`write_bytes`) match by their intended name.

    Args:
        folder: the folder.
        patterns: regular expressions of names.
        unfinished: delete only files that were being written.
    """
    if folder.is_symlink() or not folder.is_dir():
        return []
    intended = "|".join(f"(?:{pattern})" for pattern in patterns)
    names = re.compile(f"\\.(?:{intended})\\.{TEMPORARY}" if unfinished else f"(?:{intended})|\\.(?:{intended})\\.{TEMPORARY}")
    undeleted = []
    with os.scandir(folder) as entries:
        matching = [entry for entry in entries if names.fullmatch(entry.name)]
    for entry in sorted(matching, key=lambda entry: entry.name):
        if not (entry.is_symlink() or entry.is_file(follow_symlinks=False)):
            undeleted.append(Path(entry.path))
            continue
        try:
            os.unlink(entry.path)
        except FileNotFoundError:
            pass
        except OSError:
            undeleted.append(Path(entry.path))
    return undeleted


def _umask() -> int:
    """Return the process's file mode mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
