"""Runs as processes of this machine, so many at a time, dealt out over its devices."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.sweep import child_process as child
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending


class Process:
    """A run as a process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], device: str | None):
        self.process, self.device = process, device
        self.where = device or ""

    def poll(self) -> Ending | None:
        status = self.process.poll()
        return None if status is None else Ending(status)

    def interrupt(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self.process.poll() is None:
            # Its session too: the processes that read images for it.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Local:
    """`jobs` processes at a time (None: one a device), each on the device that fewest are on."""

    stays = False

    def __init__(self, jobs: int | None = None, devices: Sequence[str] = (), command: Command = command_of):
        self.slots: int | None = jobs or max(1, len(devices))
        self.devices, self.command = list(devices), command
        self._started: list[Process] = []

    def start(self, run: Run, fresh: bool) -> Process:
        self._started = [process for process in self._started if process.poll() is None]
        used = [process.device for process in self._started]
        device = min(self.devices, key=used.count) if self.devices else None
        command = self.command(run, fresh, device)
        process = Process(child.start(command, str(run.log), str(Path.cwd()), threads(self.slots or 1)), device)
        self._started.append(process)
        return process

    def adopt(self, run: Run) -> None:
        return None

    def close(self) -> None:
        pass


def threads(at_a_time: int) -> dict[str, str]:
    """The processors shared out: processes with as many threads each as there are processors stand in one another's way."""
    if at_a_time < 2 or "OMP_NUM_THREADS" in os.environ:
        return {}
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, there // at_a_time))}
