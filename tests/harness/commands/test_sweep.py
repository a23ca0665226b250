"""`sweep` with the real `bench` in separate processes. Runs are few and tiny, because each takes seconds to import torch."""

import csv
import json
import os
import shlex
import signal
import threading
import time
from pathlib import Path

import pytest

import cli
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run as run_here
from harness.sweep.grid import ENTRY

OPTIONS = {"iterations": 2, "batch_size": 8, "warmup": 0}


@pytest.fixture
def flags(model_directory, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    given = " ".join(f"{name}={value}" for name, value in OPTIONS.items())
    return f"stream --tasks digits,shapes --limit 12 --heldout --model {model_directory} --set {given} --out {tmp_path / 'r'}"


def sweep(flags, more=""):
    return cli.main(["sweep", *shlex.split(f"{flags} {more}")])


def accuracies(folder):
    with (folder / "accuracy.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_sweep_of_real_runs(flags, model_directory, tmp_path, capsys, monkeypatch):
    """One run fails. Another one is killed in the middle and then continued. Finished runs are skipped."""
    grid = "--strategies broken.py:Broken,slow.py:Slow --seeds 1 --jobs 2"
    monkeypatch.chdir(tmp_path)
    body = "from strategies import Strategy\n\n\nclass {}(Strategy):\n    {}\n    def before_experience(self):\n        {}\n"
    Path("broken.py").write_text(body.format("Broken", "", "raise RuntimeError('broken on purpose')"))
    # Waits in the second task until the file `wait` is removed.
    wait = "super().before_experience()\n        import os, time\n        while self.trained and os.path.exists('wait'):"
    Path("slow.py").write_text(body.format("Slow", "", f"{wait}\n            time.sleep(0.05)"))
    Path("wait").touch()

    assert sweep(flags, f"{grid} --dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert len(commands) == 2 and all(shlex.split(line)[1:4] == [str(ENTRY), "bench", "stream"] for line in commands)
    assert [line for line in lines if "missing: " in line and "seed 1" in line] == [lines[0], lines[2]]

    def kill():
        try:
            (record,) = waited(lambda: [p for p in Path("r").glob("stream-*/slow-*/run.json") if progress(p) == 1])
            os.kill(holder(record.parent), signal.SIGKILL)
        finally:
            # Without it the run would wait for ever.
            Path("wait").unlink()

    killer = threading.Thread(target=kill)
    killer.start()
    assert sweep(flags, grid) == 1
    killer.join()
    shown = capsys.readouterr().out
    assert "slow.py:Slow, order custom-" in shown and "is started again: killed by SIGKILL" in shown
    assert "RuntimeError: broken on purpose" in shown and "log: " in shown
    assert "2 runs: 1 finished, 1 failed (1 of them now)" in shown
    (log,) = Path("r/logs").glob("*-broken-seed1-*.log")
    assert "broken on purpose" in log.read_text()

    # The same numbers as of a run that nobody killed.
    config = RunConfig(
        "stream", "slow.py:Slow", tasks=("digits", "shapes"), limit=12, heldout=(), model=str(model_directory), seed=1
    )
    here = run_here(RunConfig(**{**vars(config), "options": OPTIONS, "out": "alone"}), Screen(quiet=True)).folder
    (there,) = Path("r").glob("stream-*/slow-*")
    assert accuracies(here) == accuracies(there)

    assert sweep(flags, f"{grid} --status") == 0
    shown = capsys.readouterr().out
    assert "2 runs: 1 finished, 1 failed" in shown and "broken on purpose" in shown
    assert sweep(flags, "--strategies slow.py:Slow --seeds 1") == 0
    assert "1 run, 1 finished already, 0 to do" in capsys.readouterr().out
    assert sweep(flags, "--strategies zero-shot --seeds 1 --shard 2/2") == 0
    assert "contains no run" in capsys.readouterr().out


def waited(condition, seconds=300):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)
    return found


def progress(record):
    return json.loads(record.read_text())["progress"]["after"]


def holder(folder):
    """Return the process that has the lock of a folder open."""
    lock = str((folder / ".lock").resolve())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if any(os.readlink(fd) == lock for fd in (entry / "fd").iterdir()):
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("nobody has the lock")


@pytest.mark.parametrize("fresh", ["", "--fresh"])
def test_an_interrupt_says_how_to_continue(flags, fresh, capsys, monkeypatch):
    from harness.sweep import scheduler as loop

    def interrupt(runs, backend, screen, **more):
        assert more == {"fresh": bool(fresh), "retries": 1}
        raise loop.Interrupted([loop.Outcome(run, "interrupted") for run in runs], [])

    monkeypatch.setattr(loop, "run_missing", interrupt)
    assert sweep(flags, f"--strategies zero-shot {fresh}") == 130
    shown = capsys.readouterr()
    again = "the same command without --fresh" if fresh else "the same command"
    assert shown.err == f"perennial: interrupted; {again} continues.\n" and "1 run: 1 missing" in shown.out


def test_a_grid_is_planned(flags, monkeypatch, capsys):
    """Each kind of missing run is planned once and counted for all of its seeds."""
    planned = []

    def plans(configs, screen):
        for config in configs:
            planned.append((config.strategy, config.seed))
            hours = {"finetune": 2.0, "simple-cil": 1.0}[config.strategy]
            yield {
                "seconds": {"total": 3600 * hours},
                "disk": {"kept": 10**9, "cached_pixels": 5 * 10**9},
                "counts": {"updates": 1001},
                "memory": {"peak": 3 * 10**9},
                "notes": ["assumed"],
            }

    monkeypatch.setattr("harness.commands.bench.plans", plans)
    assert sweep(flags, "--strategies finetune,simple-cil --seeds 0-2 --plan") == 0
    shown = capsys.readouterr().out
    assert planned == [("finetune", 0), ("simple-cil", 0)]
    [finetune] = [line.split() for line in shown.splitlines() if line.startswith("finetune")]
    assert finetune[3:5] == ["3", "1,001"] and shown.count("assumed") == 1
    assert "in all 9.0 h one after the other, 6.0 GB of checkpoints and 5.0 GB of decoded images" in shown
    assert sweep(flags, "--strategies finetune --seeds 0 --plan --dry-run") != 0
    assert "--dry-run and --plan cannot be combined" in capsys.readouterr().err
