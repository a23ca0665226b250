"""`sweep --status` and `--dry-run` run no user code, and find its runs by their records."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from harness.config.resolve import check_names
from harness.config.run_config import RunConfig
from harness.sweep.recorded_runs import recorded_place
from harness.sweep.slurm_backend import submission_script
from models.registry import UserError

CODE = "raise SystemExit('this code was run')\nclass MyMethod: pass\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Make a strategy file that must not be run, and return a function that writes a record of one of its runs."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)

    def write(name, status="interrupted", changes=None, **identity):
        config = RunConfig(strategy="mine.py:MyMethod")
        plan = check_names(config)
        folder = Path("results/mtil-mini-I") / name
        folder.mkdir(parents=True)
        found = {
            "benchmark": "mtil",
            "edition": "mini",
            "order": "I",
            "strategy": "my-method",
            "options": {},
            "seed": 0,
            "limit": None,
            "shots": None,
            "measure_n": 1000,
            "tasks": list(plan.names),
            "heldout": list(plan.heldout),
            "protocol": plan.protocol,
            "model": "tiny",
            "pretrained": None,
            "tuning": "full",
            "strategy_sha256": hashlib.sha256(CODE.encode()).hexdigest(),
            **identity,
        }
        record = {
            "identity": found,
            "key": name.rpartition("-")[2],
            "status": status,
            "progress": {"after": 8, "of": 8},
            "summary": {"last": 61.5},
            "request": {"plugins": [], "options": {"lr": 0.001, "weight": 2.0, **(changes or {})}},
            "changes": changes or {},
        }
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return write


def where(**changes):
    config = RunConfig(strategy="mine.py:MyMethod", **changes)
    return recorded_place(config, check_names(config))[0]


def test_the_record_of_the_same_code_and_settings(mine):
    plain, changed = mine("my-method-0000000000"), mine("my-method-1111111111", changes={"lr": "0.1"})
    mine("my-method-2222222222", strategy_sha256="another")
    mine("my-method-3333333333", seed=1, limit=20)
    (Path("results/mtil-mini-I/my-method-4444444444")).mkdir()
    (Path("results/mtil-mini-I/my-method-4444444444/run.json")).write_text("{")
    assert where() == plain and where(options={"lr": "0.1"}) == changed and where(options={"weight": "2"}) == plain
    for other in ({"options": {"lr": "0.2"}}, {"seed": 1}, {"seed": 2}, {"tuning": "lora"}, {"plugins": ("replay",)}):
        assert not where(**other).exists() and where(**other).parent == plain.parent
    assert len({where(seed=seed) for seed in range(5)}) == 5
    Path("mine.py").unlink()
    with pytest.raises(UserError, match=r"There is no strategy file 'mine\.py'"):
        where()


def test_status_and_dry_run_do_not_run_the_code(mine, capsys):
    mine("my-method-0000000000")
    grid = ["sweep", "--strategies", "mine.py:MyMethod,zscl", "--seeds", "0,1"]
    assert cli.main([*grid, "--status"]) == 0
    assert "4 runs: 1 interrupted, 3 missing" in capsys.readouterr().out
    assert cli.main([*grid, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# interrupted (8 of 8 tasks): mine.py:MyMethod, order I, seed 0"
    missing = [line.removeprefix("# missing: ") for line in lines if line.startswith("# missing: ")]
    assert missing == ["zscl, order I, seed 0", "mine.py:MyMethod, order I, seed 1", "zscl, order I, seed 1"]
    commands = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert [command[command.index("--strategy") + 1] for command in commands] == [*("mine.py:MyMethod", "zscl") * 2]
    assert "# 4 runs: 1 interrupted, 3 missing" in lines and "checked when its run starts" in lines[-1]
    assert cli.main([*grid, "--dry-run", "--fresh"]) == 0
    assert sum(not line.startswith("#") for line in capsys.readouterr().out.splitlines()) == 4


def test_a_strangers_configuration_is_only_read(mine, capsys):
    Path("run.json").write_text(json.dumps({"request": {"benchmark": "mtil", "strategy": "mine.py:MyMethod"}}))
    assert cli.main(["sweep", "--config", "run.json", "--status"]) == 0
    assert cli.main(["sweep", "--config", "run.json", "--dry-run"]) == 0
    assert "missing: mine.py:MyMethod, order I, seed 0" in capsys.readouterr().out


def test_the_script_that_slurm_gets(tmp_path, capsys, monkeypatch):
    pytest.importorskip("submitit", reason="an extra")
    monkeypatch.chdir(tmp_path)
    flags = "--dry-run --backend slurm --slurm partition=gpu gpus_per_node=1 mem_gb=8 timeout_min=30"
    assert cli.main(["sweep", "--strategies", "zscl", *flags.split()]) == 0
    shown = capsys.readouterr().out
    for line in ("--partition=gpu", "--gpus-per-node=1", "--mem=8GB", "--time=30", "--job-name=perennial"):
        assert f"#SBATCH {line}\n" in shown
    assert "\n#!/bin/bash\n" in shown and "submitit.core._submit" in shown and not list(tmp_path.iterdir())
    # Each run is started by a job, so only the script is not a comment.
    assert "# missing: zscl" in shown and all(line.startswith("# ") for line in shown.partition("#!/bin/bash")[0].splitlines())
    with pytest.raises(UserError, match="--slurm: "):
        submission_script(tmp_path, {"nonsense": "1"})


@pytest.mark.slow
def test_both_take_little_time(tmp_path):
    """This measures user time, which other processes change little."""
    code = "import resource, sys, cli; cli.main(sys.argv[1:]); print(resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    words = ["sweep", "--strategies", "zscl,lora,wise-ft", "--seeds", "0-4", "--status"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert float(done.stdout.splitlines()[-1]) < 3, done.stdout
