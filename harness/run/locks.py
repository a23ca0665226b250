"""Lock a folder for one process. The lock file names its holder."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from models.files import kind, open_file, reason
from models.registry import UserError

NAME = ".lock"
PATIENCE = 2.0
"""Seconds to wait for a lock, in which a process that only looks at it (`at_work`) releases it."""
LONGEST = 1000
"""Bytes of a lock file that are read at most."""


class AtWork(UserError):
    """Another process holds the lock of the folder."""


class Holder(NamedTuple):
    """The process that wrote a lock file: its number, its machine, and the time (seconds since 1970)."""

    pid: int
    host: str
    since: float

    @property
    def is_here(self) -> bool:
        """True if the process runs on this machine at this moment."""
        if self.host != socket.gethostname():
            return False
        with suppress(PermissionError):
            try:
                os.kill(self.pid, 0)
            except (ProcessLookupError, OverflowError):
                return False
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process. The folder is created if it is missing.

    Raises AtWork if another process holds the lock for `PATIENCE` seconds, and UserError if nothing can be written there.
    """
    from filelock import FileLock, Timeout

    # The system releases it when the process dies, however it dies.
    path = folder / NAME
    lock = FileLock(path, timeout=PATIENCE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_regular(path)
        with warnings.catch_warnings():
            # On a file system without locks, filelock relies on the existence of the file.
            warnings.filterwarnings("ignore", message="flock not supported")
            lock.acquire()
    except Timeout as error:
        raise AtWork(_busy(folder)) from error
    except OSError as error:
        raise refused(folder, error) from error
    try:
        # An existing lock file can be locked on a full disk.
        check_writable(folder)
        _sign(path)
        yield
    finally:
        lock.release()


def at_work(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder, or looks at it at this moment. Creates no file."""
    from filelock import FileLock, Timeout

    path = folder / NAME
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flock not supported")
            with FileLock(path, timeout=0):
                return False
    except Timeout:
        return True
    except OSError:  # there is no lock file, or the folder is read-only
        return False


def holder(folder: Path) -> Holder | None:
    """Return the process that wrote the lock file of a folder, or None if it names no process."""
    try:
        with open_file(folder / NAME) as file:
            text, since = file.read(LONGEST).decode(errors="replace"), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    match = re.match(r"(\d{1,18})\n([\w.-]{1,255})\n", text)
    return None if match is None else Holder(int(match[1]), match[2], since)


def check_writable(folder: Path) -> None:
    """Raise UserError if no file can be written to a folder. The folder is created if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b" ")
    except OSError as error:
        raise refused(folder, error) from error


def refused(folder: Path, error: OSError) -> UserError:
    """Return the error to raise if the system refuses to write to a folder."""
    why = reason(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"Cannot open a file in {_short(folder)}: {why}.")
    if isinstance(error, FileExistsError):
        with suppress(OSError):
            parts = [*reversed(folder.parents), folder]
            file = next(part for part in parts if os.path.lexists(part) and not part.is_dir())
            why = f"{file} is {kind(os.lstat(file).st_mode)}, not a folder"
    return UserError(f"Cannot write to {_short(folder)}: {why}; --out names another folder.")


def _busy(folder: Path) -> str:
    """Return the message for a folder that another process holds."""
    who = holder(folder)
    if who is None:
        return f"Another process is at work on {folder}. If it no longer runs, remove {folder / NAME} and start again."
    if who.is_here:
        return f"Another process is at work on {folder}: {who}."
    return (
        f"Another process is at work on {folder}: {who}. If it no longer runs there (`ps -p {who.pid}`), remove "
        f"{folder / NAME} and start again."
    )


def _check_regular(path: Path) -> None:
    """Raise UserError if the lock file is not a regular file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else kind(mode)
        raise UserError(f"The lock file {path} is {what}, not a file: remove it and start again.")


def _sign(path: Path) -> None:
    """Write this process into a lock file, in the format of filelock's marker for file systems without locks."""
    me = f"{os.getpid()}\n"
    # Only messages to other users depend on it.
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "r+", encoding="utf-8") as file:
            if file.read(len(me)) != me:
                file.seek(0)
                file.truncate()
                file.write(f"{me}{socket.gethostname()}\n")


def _short(folder: Path) -> str:
    """Return a path without its middle if it is long."""
    text = str(folder)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"
