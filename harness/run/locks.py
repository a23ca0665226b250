"""Lock a folder for one process. The lock file says whose it is."""

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
"""Seconds in which a lock that is only looked at (`at_work`) is given back."""
LONGEST = 1000
"""Bytes of a lock file that are read."""


class AtWork(UserError):
    """Another process has the folder."""


class Holder(NamedTuple):
    """The process that wrote a lock file: its number and machine, and when (seconds since 1970)."""

    pid: int
    host: str
    since: float

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine at this moment."""
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
    """Lock a folder, which is made if it is missing, for this process.

    Raises AtWork when another process holds the lock (for `PATIENCE` seconds), UserError when nothing can be written there.
    """
    from filelock import FileLock, Timeout

    # The system releases it when the process dies, however it dies.
    path = folder / NAME
    lock = FileLock(path, timeout=PATIENCE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_regular(path)
        with warnings.catch_warnings():
            # Where the file system has no locks, filelock makes do with the file's existence.
            warnings.filterwarnings("ignore", message="flock not supported")
            lock.acquire()
    except Timeout as error:
        raise AtWork(_busy(folder)) from error
    except OSError as error:
        raise refused(folder, error) from error
    try:
        # A lock file that is there already can be locked on a disk that takes nothing more.
        check_writable(folder)
        _sign(path)
        yield
    finally:
        lock.release()


def at_work(folder: Path) -> bool:
    """Return whether a process holds, or briefly looks at, the lock of a folder. Makes nothing that was not there."""
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
    except OSError:  # none there, or a folder that may be read only
        return False


def holder(folder: Path) -> Holder | None:
    """Return who wrote the lock file of a folder; None where it does not say."""
    try:
        with open_file(folder / NAME) as file:
            text, since = file.read(LONGEST).decode(errors="replace"), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    match = re.match(r"(\d{1,18})\n([\w.-]{1,255})\n", text)
    return None if match is None else Holder(int(match[1]), match[2], since)


def check_writable(folder: Path) -> None:
    """Raise UserError where no file can be written to a folder. The folder is made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b" ")
    except OSError as error:
        raise refused(folder, error) from error


def refused(folder: Path, error: OSError) -> UserError:
    """Return the mistake to raise where the system refuses to write to a folder."""
    why = reason(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return UserError(f"Cannot open a file in {_short(folder)}: {why}.")
    if isinstance(error, FileExistsError):
        with suppress(OSError):
            parts = [*reversed(folder.parents), folder]
            file = next(part for part in parts if os.path.lexists(part) and not part.is_dir())
            why = f"{file} is {kind(os.lstat(file).st_mode)}, not a folder"
    return UserError(f"Cannot write to {_short(folder)}: {why}; --out names another place.")


def _busy(folder: Path) -> str:
    who = holder(folder)
    if who is None:
        return f"Another process is at work on {folder}. If it does not run any more, remove {folder / NAME} and start again."
    if who.is_here:
        return f"Another process is at work on {folder}: {who}."
    return (
        f"Another process is at work on {folder}: {who}. If it does not run there any more (`ps -p {who.pid}`), remove "
        f"{folder / NAME} and start again."
    )


def _check_regular(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else kind(mode)
        raise UserError(f"The lock file {path} is {what}, not a file: remove it and start again.")


def _sign(path: Path) -> None:
    """Write into a lock file whose it is, in the form of filelock's own marker for file systems without locks."""
    me = f"{os.getpid()}\n"
    # Another process reads this and nobody depends on it.
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "r+", encoding="utf-8") as file:
            if file.read(len(me)) != me:
                file.seek(0)
                file.truncate()
                file.write(f"{me}{socket.gethostname()}\n")


def _short(folder: Path) -> str:
    text = str(folder)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"
