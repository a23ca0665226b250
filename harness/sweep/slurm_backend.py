"""Run jobs of Slurm through submitit, which is imported only when it is used.

submitit writes what it sends and receives, pickled, into `logs/submitit` next to the records. It holds nothing of a run. If the
time of a job is up, or if it makes room for another job, it saves and submitit queues it again. Jobs continue when the sweep is
interrupted: `logs/*.job` holds their numbers, and the same command waits for them instead of submitting them twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.records.files import read_json, write_json
from harness.sweep import child_process
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending
from models.registry import UserError, first_line

# Parameters that submitit has for all clusters. Others belong to Slurm.
SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout")
DEFAULTS = {"name": "perennial", "timeout_min": 240}
"""Our choice: four hours, after which a run is queued again and continues."""
REQUEUES = 100
"""How often a run may be queued again because its time was up (submitit's default is 3)."""
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "SUSPENDED")
INSTALL = "--backend slurm needs submitit: install the extra perennial[slurm] (pip install -e '.[slurm]')."
QUERY_SECONDS = 60.0
"""Seconds between queries to Slurm. A job that ends normally is noticed at once, by its file."""


class Job:
    """A run as a Slurm job."""

    def __init__(self, job: Any, backend: Slurm, file: Path):
        self.job, self.backend, self.file = job, backend, file
        self.where = f"job {job.job_id}"

    def poll(self) -> Ending | None:
        """Return how the job ended, or None while it is queued or runs."""
        if not self.job.done(force_check=self.backend.may_query()):
            return None
        self.file.unlink(missing_ok=True)
        try:
            return Ending(self.job.result())
        except Exception as error:  # an error of submitit or of the job
            return Ending(None, f"{self.where} was lost ({first_line(error)})")

    def interrupt(self) -> None:
        """Cancel the job, which saves and ends."""
        self.job.cancel(check=False)

    kill = interrupt


class Slurm:
    """Submit jobs to Slurm."""

    def __init__(
        self,
        folder: Path,
        words: Mapping[str, str],
        local: bool = False,
        jobs: int | None = None,
        command: Command = command_of,
    ):
        """Prepare submitit.

        Args:
            folder: where submitit writes its files.
            words: parameters of submitit and Slurm as text (`parameters`).
            local: use submitit's substitute for Slurm on this machine.
            jobs: the number of jobs at a time; None leaves it to Slurm's queue.
            command: returns the command of a run.

        Raises:
            UserError: if submitit or Slurm is missing, or for a parameter that submitit does not accept.
        """
        try:
            import submitit
            from cloudpickle import register_pickle_by_value
        except ImportError as error:
            raise UserError(INSTALL) from error
        # The substitute has no queue and would start everything at once.
        self.slots, self.command, self.stays = jobs or (1 if local else None), command, not local
        self._queried = time.monotonic()
        try:
            options = {} if local else {"slurm_max_num_timeout": REQUEUES}
            self.executor = submitit.AutoExecutor(folder=folder, cluster="local" if local else "slurm", **options)
            self.executor.update_parameters(**{**DEFAULTS, **parameters(words)})
        except RuntimeError as error:
            raise UserError("There is no Slurm on this machine (no srun); --slurm-local tries it without Slurm.") from error
        except (NameError, ValueError, TypeError, AssertionError) as error:
            raise UserError(f"--slurm: {first_line(error)}.") from error
        register_pickle_by_value(child_process)
        self.job_class = submitit.LocalJob if local else submitit.SlurmJob

    def start(self, run: Run, fresh: bool) -> Job:
        """Submit a run."""
        commands = self.command(run, fresh, None), self.command(run, False, None)
        task = child_process.Task(*commands, str(run.log.resolve()), str(Path.cwd()), {})
        from submitit.core.utils import FailedJobError

        try:
            job = self.executor.submit(task)
        except FailedJobError as error:
            raise OSError(f"Slurm did not accept the job: {first_line(error)}") from error
        try:
            write_json(self._file(run), {"job": job.job_id})
        except OSError:
            # A later sweep could not find the job.
            job.cancel(check=False)
            raise
        return Job(job, self, self._file(run))

    def adopt(self, run: Run) -> Job | None:
        """Return the job of a run that an earlier sweep submitted and that has not ended, or None."""
        try:
            recorded = read_json(self._file(run))
        except UserError:  # damaged by a full disk; the lock of the folder keeps two jobs of one run apart
            recorded = None
        if recorded is None or not isinstance(recorded.get("job"), str):
            return None
        job: Any = self.job_class(self.executor.folder, recorded["job"])
        info = job.get_info(mode="force")
        if str(info.get("State") or info.get("jobState")).split(" ")[0] not in ALIVE:
            self._file(run).unlink(missing_ok=True)
            return None
        return Job(job, self, self._file(run))

    def may_query(self) -> bool:
        """Return whether to query Slurm now. One answer covers all jobs."""
        if time.monotonic() < self._queried + QUERY_SECONDS:
            return False
        self._queried = time.monotonic()
        return True

    def close(self) -> None:
        """Do nothing, since jobs belong to Slurm."""

    @staticmethod
    def _file(run: Run) -> Path:
        return run.log.with_suffix(".job")


def submission_script(folder: Path, words: Mapping[str, str]) -> str:
    """Return the sbatch script that submitit would write, also on a machine without Slurm. Raises UserError."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise UserError(INSTALL) from error

    class DryExecutor(SlurmExecutor):
        """An executor that neither needs Slurm nor submits a job."""

        @classmethod
        def affinity(cls) -> int:
            """Accept this machine."""
            return 1

        def __init__(self) -> None:
            super().__init__(folder, max_num_timeout=REQUEUES)

    values = {name.removeprefix("slurm_"): value for name, value in {**DEFAULTS, **parameters(words)}.items()}
    existed = folder.exists()
    try:
        executor = DryExecutor()
        executor.update_parameters(**executor._convert_parameters(values))
        return str(executor._make_submission_file_text(executor._submitit_command_str, "JOB"))
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"--slurm: {first_line(error)}.") from error
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def parameters(words: Mapping[str, str]) -> dict[str, Any]:
    """Return texts as parameters of submitit: `timeout_min` is one of its names, `partition` becomes `slurm_partition`."""
    return {
        name if name in SHARED or name.startswith("slurm_") else f"slurm_{name}": text if name == "name" else _value(text)
        for name, text in words.items()
    }


def _value(text: str) -> Any:
    """Return a text as a bool, an int, a float or itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
