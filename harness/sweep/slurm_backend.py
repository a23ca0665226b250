"""Runs as jobs of Slurm, through submitit, which is imported when it is asked for.

submitit writes what it sends and gets back, pickled, into `logs/submitit` beside the records; nothing of a run is in there. A
job whose time is up, or that gives way to another, saves and is queued again by submitit. Jobs go on when the sweep is
interrupted: `logs/*.job` holds their numbers, and the same command waits for them instead of queueing them twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.records.files import read_json, write_json
from harness.sweep import child_process as child
from harness.sweep.grid import Command, Run, command_of
from harness.sweep.scheduler import Ending
from models.registry import UserError, first_line

# The names that submitit has for all clusters; others are Slurm's own.
SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout")
DEFAULTS = {"name": "perennial", "timeout_min": 240}
"""Our choice: four hours, after which a run is queued again and goes on."""
REQUEUES = 100
"""How often a run may be queued again because its time was up (submitit's own default is 3)."""
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "RESIZING", "SUSPENDED")
INSTALL = "--backend slurm needs submitit: install the extra perennial[slurm] (pip install -e '.[slurm]')."
ASK = 60.0
"""Seconds between questions to Slurm; a job that ends well is seen at once, by its file."""


class Job:
    """A run as a job."""

    def __init__(self, job: Any, backend: Slurm, file: Path):
        self.job, self.backend, self.file = job, backend, file
        self.where = f"job {job.job_id}"

    def poll(self) -> Ending | None:
        if not self.job.done(force_check=self.backend.may_ask()):
            return None
        self.file.unlink(missing_ok=True)
        try:
            return Ending(self.job.result())
        except Exception as error:  # submitit's own, or what the job raised
            return Ending(None, f"{self.where} was lost ({first_line(error)})")

    def interrupt(self) -> None:
        self.job.cancel(check=False)

    kill = interrupt


class Slurm:
    """Jobs with submitit's parameters (`given`, as text); `local`: submitit's stand-in for Slurm on this machine, for a try."""

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, str],
        local: bool = False,
        jobs: int | None = None,
        command: Command = command_of,
    ):
        try:
            import submitit
            from cloudpickle import register_pickle_by_value
        except ImportError as error:
            raise UserError(INSTALL) from error
        # Slurm has a queue; its stand-in would start everything at once.
        self.slots, self.command, self.stays = jobs or (1 if local else None), command, not local
        self._asked = time.monotonic()
        try:
            more = {} if local else {"slurm_max_num_timeout": REQUEUES}
            self.executor = submitit.AutoExecutor(folder=folder, cluster="local" if local else "slurm", **more)
            self.executor.update_parameters(**{**DEFAULTS, **parameters(given)})
        except RuntimeError as error:
            raise UserError("There is no Slurm on this machine (no srun); --slurm-local tries the same without it.") from error
        except (NameError, ValueError, TypeError, AssertionError) as error:
            raise UserError(f"--slurm: {first_line(error)}.") from error
        register_pickle_by_value(child)
        self.job_class = submitit.LocalJob if local else submitit.SlurmJob

    def start(self, run: Run, fresh: bool) -> Job:
        words = self.command(run, fresh, None), self.command(run, False, None)
        task = child.Task(*words, str(run.log.resolve()), str(Path.cwd()), {})
        from submitit.core.utils import FailedJobError

        try:
            job = self.executor.submit(task)
        except FailedJobError as error:
            raise OSError(f"Slurm took no job: {first_line(error)}") from error
        try:
            write_json(self._file(run), {"job": job.job_id})
        except OSError:
            # Nobody would know of it.
            job.cancel(check=False)
            raise
        return Job(job, self, self._file(run))

    def adopt(self, run: Run) -> Job | None:
        try:
            known = read_json(self._file(run))
        except UserError:  # half of it on a disk that was full; the lock keeps two jobs of one run apart
            known = None
        if known is None or not isinstance(known.get("job"), str):
            return None
        job: Any = self.job_class(self.executor.folder, known["job"])
        info = job.get_info(mode="force")
        if str(info.get("State") or info.get("jobState")).split(" ")[0] not in ALIVE:
            self._file(run).unlink(missing_ok=True)
            return None
        return Job(job, self, self._file(run))

    def may_ask(self) -> bool:
        """Whether to ask Slurm now; one answer is about all jobs."""
        if time.monotonic() < self._asked + ASK:
            return False
        self._asked = time.monotonic()
        return True

    def close(self) -> None:
        pass

    @staticmethod
    def _file(run: Run) -> Path:
        return run.log.with_suffix(".job")


def script(folder: Path, given: Mapping[str, str]) -> str:
    """Return the sbatch script that submitit would write, also on a machine without Slurm. Raises UserError."""
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise UserError(INSTALL) from error

    class Unsent(SlurmExecutor):
        """An executor that asks for no Slurm on this machine, and gets no job."""

        @classmethod
        def affinity(cls) -> int:
            return 1

        def __init__(self) -> None:
            super().__init__(folder, max_num_timeout=REQUEUES)

    wanted = {name.removeprefix("slurm_"): value for name, value in {**DEFAULTS, **parameters(given)}.items()}
    made = folder.exists()
    try:
        executor = Unsent()
        executor.update_parameters(**executor._convert_parameters(wanted))
        return str(executor._make_submission_file_text(executor._submitit_command_str, "JOB"))
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"--slurm: {first_line(error)}.") from error
    finally:
        if not made:
            with suppress(OSError):
                folder.rmdir()


def parameters(given: Mapping[str, str]) -> dict[str, Any]:
    """Text as submitit's parameters: `timeout_min=60` is its own, `partition=gpu` Slurm's (`slurm_partition`)."""
    return {
        name if name in SHARED or name.startswith("slurm_") else f"slurm_{name}": text if name == "name" else _value(text)
        for name, text in given.items()
    }


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
