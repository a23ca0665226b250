"""Run a command as a process that writes a log, on any machine. Imports only the standard library.

Ray and submitit send these functions to their workers by value, so a worker needs the installation only for the command.
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

# An interpreter runs this and then becomes the command. When the parent process dies, Linux sends the command an interrupt, so
# that it saves its work and does not continue unwatched. Background jobs of a shell ignore interrupts and Ray's workers block
# them; their children would inherit that.
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
    """Start a command in a new session, with its output appended to the log.

    In a new session, a terminal's Ctrl-C does not reach the process in addition to the interrupt that the sweep sends.
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
    """Run a command and return its exit status, negative for a signal. An interrupt is passed on to the command."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # A cluster worker that a background job of a shell started would not notice that it is cancelled.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(command, log, folder, environment)
    try:
        return wait(process)
    except KeyboardInterrupt:
        return interrupt(process)


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the exit status by polling, since an interrupt raised by a thread does not end a wait of the system."""
    while process.poll() is None:
        time.sleep(PAUSE)
    return process.returncode


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """Ask a process to save and end, and return its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.wait()


class Task:
    """A command as a submitit job. If its time is up or another job takes its place, it saves and is queued again."""

    def __init__(
        self, command: Sequence[str], next_command: Sequence[str], log: str, folder: str, environment: Mapping[str, str]
    ):
        """Prepare a command. `next_command` is run when the job is queued again, so it must not start over."""
        self.command, self.next_command = list(command), list(next_command)
        self.place = (log, folder, dict(environment))
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command and return its exit status."""
        self.process = start(self.command, *self.place)
        try:
            return wait(self.process)
        except KeyboardInterrupt:
            return interrupt(self.process)

    def checkpoint(self) -> Any:
        """Return the submission that submitit queues again. Called in a signal handler while `__call__` waits."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            interrupt(self.process)
        return DelayedSubmission(Task(self.next_command, self.next_command, *self.place))
