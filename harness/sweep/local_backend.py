"""Run several processes at a time on this machine, distributed over its devices."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.sweep import child_process
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending
from models.processors import processors


class Process:
    """A run as a process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], device: str | None):
        self.process, self.device = process, device
        self.where = device or ""

    def poll(self) -> Ending | None:
        """Return how the process ended, or None while it runs."""
        status = self.process.poll()
        return None if status is None else Ending(status)

    def interrupt(self) -> None:
        """Ask the process to save and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process at once, with the processes that read images for it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Local:
    """Run `jobs` processes at a time (None: one per device), each on the device with the fewest processes."""

    stays = False

    def __init__(self, jobs: int | None = None, devices: Sequence[str] = (), command: Command = command_of):
        self.slots: int | None = jobs or max(1, len(devices))
        self.devices, self.command = list(devices), command
        self._started: list[Process] = []

    def start(self, run: Run, fresh: bool) -> Process:
        """Start a run."""
        self._started = [process for process in self._started if process.poll() is None]
        used = [process.device for process in self._started]
        device = min(self.devices, key=used.count) if self.devices else None
        command = self.command(run, fresh, device)
        environment = thread_limit(self.slots or 1)
        process = Process(child_process.start(command, str(run.log), str(Path.cwd()), environment), device)
        self._started.append(process)
        return process

    def adopt(self, run: Run) -> None:
        """Return None, since processes end with the sweep that started them."""

    def close(self) -> None:
        """Do nothing."""


def thread_limit(processes: int) -> dict[str, str]:
    """Return environment variables that divide the processors among processes, which would otherwise slow each other down."""
    if processes < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, processors() // processes))}
