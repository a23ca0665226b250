"""Run tasks on a Ray cluster, or on one that is started on this machine. Ray is imported only when it is used.

The files of `--out`, the data and the installation must have the same paths on every machine (a shared file system). If a
worker or machine is lost, `harness.sweep.scheduler` and not Ray starts its run again. This counts as an attempt and is
reported, and the run continues from its last checkpoint.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from pathlib import Path
from typing import Any

from harness.sweep import child_process
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending
from models.registry import UserError, first_line

STORE = 100_000_000
"""Bytes of the object store of a cluster on this machine, which holds only exit statuses."""


class RayTask:
    """A run as a Ray task."""

    def __init__(self, ray: Any, reference: Any):
        self.ray, self.reference = ray, reference
        self.where = "ray"

    def poll(self) -> Ending | None:
        """Return how the task ended, or None while it runs."""
        if not self.ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            return Ending(self.ray.get(self.reference))
        except self.ray.exceptions.TaskCancelledError:
            return Ending(130, "cancelled")
        except self.ray.exceptions.RayError as error:
            return Ending(None, f"its worker was lost ({type(error).__name__}: {first_line(error)})")

    def interrupt(self) -> None:
        """Ask the task to save and end."""
        self.ray.cancel(self.reference)

    def kill(self) -> None:
        """End the task at once."""
        self.ray.cancel(self.reference, force=True)


class Ray:
    """Run tasks where the cluster has `cpus` processors and `gpus` devices free."""

    stays = False

    def __init__(
        self,
        address: str | None = None,
        cpus: float = 1,
        gpus: float | None = None,
        jobs: int | None = None,
        command: Command = command_of,
    ):
        """Connect to the cluster at `address`, or start one on this machine.

        `cpus` and `gpus` are those of one run; gpus None is one device if the cluster has any. `jobs` limits the number of
        tasks at a time. Raises UserError if there is no cluster, or if it is too small for a run.
        """
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            import ray
        except ImportError as error:
            raise UserError("--backend ray needs Ray: install perennial[ray] (pip install -e '.[ray]').") from error
        self.ray: Any = ray
        self.slots, self.command = jobs, command
        address = address or os.environ.get("RAY_ADDRESS") or "local"
        # An existing cluster has chosen these itself.
        options: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
        _check_reachable(address)
        try:
            self.ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:  # of many classes
            raise UserError(f"There is no Ray cluster at {address}: {first_line(error)}.") from error
        resources = self.ray.cluster_resources()
        gpus = float(resources.get("GPU", 0) > 0) if gpus is None else gpus
        for name, flag, wanted in (("CPU", "--cpus-per-run", cpus), ("GPU", "--gpus-per-run", gpus)):
            if wanted > resources.get(name, 0):
                self.close()
                raise UserError(f"{flag} {wanted:g} is more than the Ray cluster has: {resources.get(name, 0):g} {name}s.")
        shares = [resources.get(name, 0) / wanted for name, wanted in (("CPU", cpus), ("GPU", gpus)) if wanted]
        self.capacity = max(1, int(min(shares, default=1)))
        """The number of runs that the cluster can have at a time."""
        self.ray.cloudpickle.register_pickle_by_value(child_process)
        # A new worker for each task, which inherits nothing from the last task.
        self.task = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(child_process.run)

    def start(self, run: Run, fresh: bool) -> RayTask:
        """Start a run."""
        log, folder = str(run.log.resolve()), str(Path.cwd())
        return RayTask(self.ray, self.task.remote(self.command(run, fresh, None), log, folder, {}))

    def adopt(self, run: Run) -> None:
        """Return None, since tasks end with the sweep that started them."""

    def close(self) -> None:
        """Disconnect from the cluster, and end one that was started here."""
        self.ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise UserError if nobody listens at HOST:PORT, for which Ray would try a minute."""
    match = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"There is no Ray cluster at {address}: {reason}.") from error
