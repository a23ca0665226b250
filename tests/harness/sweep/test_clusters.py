"""Cluster backends of a sweep: a real Ray cluster, submitit's local executor, and Slurm's commands.

A script replaces `bench`. Shell scripts replace Slurm's commands and start the batch file at once.
"""

import json
import os
import runpy
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from harness.display.screen import Screen
from harness.sweep import slurm_backend as slurm
from harness.sweep.ray_backend import Ray
from harness.sweep.run_status import status_of
from harness.sweep.scheduler import Interrupted, run_missing
from harness.sweep.slurm_backend import Slurm, parameters
from harness.sweep.sweep_screen import SweepScreen
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "sweeps.py"))
command, attempts = FAKES["command"], FAKES["attempts"]


@pytest.fixture(autouse=True)
def _not_forever():
    """Fail if a worker or job never appears."""

    def stop(*_):
        raise TimeoutError("the test took too long")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def make(tmp_path, monkeypatch):
    # A variable of the environment must not lead the test to a real cluster.
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    return partial(FAKES["make"], tmp_path, seconds=0.05)


def filled(runs, backend, **more):
    return [(o.state, o.attempts) for o in run_missing(runs, backend, SweepScreen(Screen(quiet=True)), pause=0.05, **more)]


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def later(condition, action):
    """Act in a thread once a condition holds."""

    def watch():
        wait_for(condition)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ray_with_two_workers_one_of_them_killed(make):
    lost, *others = runs = make("good", "good", "bad", seconds=0.4)
    backend = Ray(cpus=0.5 if (os.cpu_count() or 1) < 2 else 1, command=command)
    try:
        killer = later(lambda: (lost.folder / "saved").exists(), lambda: os.kill(attempts(lost)[0]["parent"], signal.SIGKILL))
        assert filled(runs, backend) == [("finished", 2), ("finished", 1), ("failed", 2)]
        killer.join()
        assert [e["how"] for e in attempts(lost)] == ["began", "interrupted", "began", "finished"], lost.log.read_text()
        first, saved, second, finished = attempts(lost)
        assert second["first"] >= 1 and second["parent"] != first["parent"], "another worker went on from the last step"
        ran = [(entry["began"], finished["ended"]) for entry in (first, attempts(others[0])[0])]
        assert max(start for start, _ in ran) < saved["ended"], "both workers were at work when one was killed"
        assert status_of(runs[2]).note == "RuntimeError: it broke"

        stopped = make("good", seconds=1)[0]._replace(folder=lost.folder.parent / "stopped")
        stopper = later(lambda: (stopped.folder / "saved").exists(), lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Interrupted):
            filled([stopped], backend)
        stopper.join()
        assert [e["how"] for e in attempts(stopped)] == ["began", "interrupted"] and status_of(stopped).state == "interrupted"
    finally:
        backend.close()


def test_a_missing_ray_cluster():
    with pytest.raises(UserError, match=r"no Ray cluster at 127\.0\.0\.1:1: Connection refused"):
        Ray(address="127.0.0.1:1")


@pytest.mark.parametrize(("backend", "extra"), [("ray", "ray"), ("submitit", "slurm")])
def test_a_missing_extra_is_named(backend, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(UserError, match=rf"perennial\[{extra}\]"):
        Ray() if backend == "ray" else Slurm(tmp_path, {}, local=True)


@pytest.mark.slow
def test_submitits_local_executor(make, tmp_path):
    runs = make("good", "dies", "mistake")
    backend = Slurm(tmp_path / "logs" / "submitit", {"timeout_min": "5"}, local=True, jobs=3, command=command)
    assert filled(runs, backend) == [("finished", 1), ("finished", 2), ("failed", 1)]
    assert [e["first"] for e in attempts(runs[1])] == [0, 2, 2]
    assert not list((tmp_path / "logs").glob("*.job")), "no job is left"


def test_a_job_whose_time_is_up_saves_and_is_queued_again(make, tmp_path):
    """The task is called as submitit calls it in its signal handler, and its submission is run."""
    from harness.sweep import child_process as child

    (run,) = make("good", seconds=0.3)
    task = child.Task(command(run, True, None), command(run, False, None), str(run.log), str(tmp_path), {})
    ended = []
    thread = threading.Thread(target=lambda: ended.append(task()))
    thread.start()
    wait_for(lambda: (run.folder / "saved").exists())
    again = task.checkpoint()
    thread.join()
    assert ended == [130] and status_of(run).state == "interrupted"
    assert again.result() == 0 and status_of(run).state == "finished"
    last = attempts(run)[-1]
    assert last["first"] >= 1 and last["arguments"] == [], "the second time without --fresh"


SCRIPTS = {
    "sbatch": """
id=$((100 + $(ls "$STAND_IN" | grep -c '^batch-'))); cp "$1" "$STAND_IN/batch-$id.sh"
SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SUBMITIT_EXECUTOR=slurm \\
  setsid bash "$STAND_IN/batch-$id.sh" > /dev/null 2>&1 < /dev/null &
echo "Submitted batch job $id"
""",
    "srun": """
until [[ "$1" == */python* ]]; do shift; done
exec "$@"
""",
    "sacct": """
echo "JobID|State|NodeList"; for job in "$STAND_IN"/batch-*; do job=${job##*-}; echo "${job%.sh}|RUNNING|here"; done
""",
    "scancel": 'touch "$STAND_IN/cancelled"',
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Provide the commands of Slurm that submitit uses."""
    there = tmp_path / "cluster"
    there.mkdir()
    for name, text in SCRIPTS.items():
        (there / name).write_text(f"#!/bin/bash\n{text}")
        (there / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{there}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(there))
    return there


def test_slurm_jobs_outlive_an_interrupt_and_are_not_queued_twice(make, cluster, tmp_path):
    (run,) = make("good", seconds=0.5)
    given = {"partition": "gpu", "timeout_min": "30", "gpus_per_node": "1"}
    backend = Slurm(tmp_path / "logs" / "submitit", given, command=command)
    assert backend.slots is None and backend.stays
    stopper = later(lambda: (run.folder / "saved").exists(), lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted) as stop:
        filled([run], backend)
    stopper.join()
    assert stop.value.left == [run] and status_of(run).state == "running"
    assert json.loads(run.log.with_suffix(".job").read_text()) == {"job": "100"}
    again = Slurm(tmp_path / "logs" / "submitit", given, command=command)
    assert filled([run], again) == [("finished", 1)]
    assert [e["how"] for e in attempts(run)] == ["began", "finished"], "one job, not submitted again"
    assert not run.log.with_suffix(".job").exists() and not (cluster / "cancelled").exists()
    (batch,) = cluster.glob("batch-*")
    text = batch.read_text()
    assert "--partition=gpu" in text and "--time=30" in text and "--gpus-per-node=1" in text


def test_a_job_that_slurm_rejects_is_a_failed_run(make, cluster, tmp_path, capfd):
    (run,) = make("good")
    (cluster / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: no such partition' >&2; exit 1\n")
    backend = Slurm(tmp_path / "logs" / "submitit", {}, command=command)
    (outcome,) = run_missing([run], backend, SweepScreen(Screen(quiet=True)), pause=0.05, retries=0)
    assert outcome.state == "failed"
    assert outcome.note == "it cannot be started (Slurm did not accept the job: sbatch: error: no such partition)"


def test_a_job_that_cannot_be_recorded_is_cancelled(make, cluster, tmp_path):
    (run,) = make("good")
    backend = Slurm(tmp_path / "logs" / "submitit", {}, command=command)
    run.log.with_suffix(".job").mkdir(parents=True)
    assert filled([run], backend, retries=0) == [("failed", 1)]
    wait_for(lambda: (cluster / "cancelled").exists())


def test_slurm_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no Slurm on this machine"):
        Slurm(tmp_path, {})


def test_parameters_of_slurm(tmp_path):
    assert parameters({"partition": "gpu", "mem_gb": "7.5", "name": "5", "slurm_time": "9", "exclusive": "true"}) == {
        "slurm_partition": "gpu",
        "mem_gb": 7.5,
        "name": "5",
        "slurm_time": 9,
        "slurm_exclusive": True,
    }
    with pytest.raises(UserError, match="--slurm: Unknown argument 'partitoin'"):
        Slurm(tmp_path, {"partitoin": "gpu"}, local=True)
    with pytest.raises(UserError, match=r"--slurm: .*timeout_min"):
        Slurm(tmp_path, {"timeout_min": "soon"}, local=True)
    assert slurm.DEFAULTS["timeout_min"] >= 60, "submitit's own five minutes are too short for a run"
