"""Runs as tasks of a Ray cluster, or of one that is started on this machine. Ray is imported when it is asked for.

The files of `--out`, the data and the installation must be at the same paths on every machine (a shared file system). A task
whose worker or machine is lost is started again as any failed run is, by `harness.sweep.scheduler`, not by Ray: it counts as an
attempt and is told, and the run goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

from harness.sweep import child_process as child
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending
from models.registry import UserError, first_line

STORE = 100_000_000
"""Bytes of the store of a cluster on this machine: exit statuses are all that goes through it."""


class Reference:
    """A run as a task."""

    def __init__(self, ray: Any, reference: Any):
        self.ray, self.reference = ray, reference
        self.where = "ray"

    def poll(self) -> Ending | None:
        if not self.ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            return Ending(self.ray.get(self.reference))
        except self.ray.exceptions.TaskCancelledError:
            return Ending(130, "cancelled")
        except self.ray.exceptions.RayError as error:
            return Ending(None, f"its worker was lost ({type(error).__name__}: {first_line(error)})")

    def interrupt(self) -> None:
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        self.ray.cancel(self.reference, force=True)


class Ray:
    """Runs wherever the cluster has `cpus` processors and `gpus` devices free (None: one device, where it has any)."""

    stays = False

    def __init__(
        self,
        address: str | None = None,
        cpus: float = 1,
        gpus: float | None = None,
        jobs: int | None = None,
        command: Command = command_of,
    ):
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            import ray
        except ImportError as error:
            raise UserError("--backend ray needs Ray: install perennial[ray] (pip install -e '.[ray]').") from error
        self.ray, self.slots, self.command = ray, jobs, command
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        # Of a cluster that is there already these are not ours to choose.
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
        _reach(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except Exception as error:  # of many kinds, by what is not there
            raise UserError(f"There is no Ray cluster at {address}: {first_line(error)}.") from error
        there = ray.cluster_resources()
        gpus = float(there.get("GPU", 0) > 0) if gpus is None else gpus
        for what, wanted in (("CPU", cpus), ("GPU", gpus)):
            if wanted > there.get(what, 0):
                self.close()
                raise UserError(f"The Ray cluster has {there.get(what, 0):g} {what}s, and a run is to have {wanted:g}.")
        ray.cloudpickle.register_pickle_by_value(child)
        # A worker for each task: the next one finds nothing of the last one's.
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(child.run)

    def start(self, run: Run, fresh: bool) -> Reference:
        log, folder = str(run.log.resolve()), str(Path.cwd())
        return Reference(self.ray, self.task.remote(self.command(run, fresh, None), log, folder, {}))

    def adopt(self, run: Run) -> None:
        return None

    def close(self) -> None:
        self.ray.shutdown()


def _reach(address: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT; Ray itself tries for a minute."""
    match = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"There is no Ray cluster at {address}: {reason}.") from error
