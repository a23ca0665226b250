"""A command as a process that writes a log, on whichever machine: it imports the standard library alone.

Ray and submitit send these functions to their workers as they are, so a worker needs the installation only for the command.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Run by an interpreter that then becomes the command. Where the process that started it dies, however it dies, Linux sends it
# the signal that an interrupt is, so that nothing goes on unwatched and what it has done is saved. A shell's background jobs
# ignore interrupts, and Ray's workers block them; what they start would too.
BECOME = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
try:
    ctypes.CDLL(None).prctl(1, signal.SIGINT, 0, 0, 0)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(130)
os.execvp(sys.argv[2], sys.argv[2:])
"""
PAUSE = 0.1


def start(command: Sequence[str], log: str, folder: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, what it says appended to the log.

    In a session of its own a terminal's Ctrl-C does not reach it beside the interrupt that it is sent.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    # Opening a named pipe would wait for a reader.
    if os.path.exists(log) and not os.path.isfile(log):
        raise OSError(errno.EINVAL, "the log is not a file", log)
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BECOME, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
        )


def run(command: Sequence[str], log: str, folder: str, environment: Mapping[str, str]) -> int:
    """Start a command and wait for it: its exit status, negative for a signal. An interrupt is passed on, and waited for."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # A worker of a cluster that a shell's background job started would not hear that it is cancelled.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(command, log, folder, environment)
    try:
        return wait(process)
    except KeyboardInterrupt:
        return interrupt(process)


def wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status. In steps: an interrupt that a thread asks for does not end a wait of the system's."""
    while process.poll() is None:
        time.sleep(PAUSE)
    return process.returncode


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to save and end; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.wait()


class Task:
    """A command as a job of submitit's: where its time is up or another job takes its place, it is saved and queued again."""

    def __init__(self, command: Sequence[str], later: Sequence[str], log: str, folder: str, environment: Mapping[str, str]):
        self.command, self.later = list(command), list(later)
        self.rest = (log, folder, dict(environment))
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        self.process = start(self.command, *self.rest)
        try:
            return wait(self.process)
        except KeyboardInterrupt:
            return interrupt(self.process)

    def checkpoint(self) -> Any:
        """What submitit queues again; called in a signal handler while `__call__` waits. `later` starts nothing over."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            interrupt(self.process)
        return DelayedSubmission(Task(self.later, self.later, *self.rest))
