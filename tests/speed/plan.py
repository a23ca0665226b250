"""Planned against measured: `python tests/speed/plan.py [--strategies NAME ...] [--csv FILE] [--processor-time] -- FLAGS`.

Each strategy is planned (`bench --plan`), run, and planned again, each in a process, with the flags of `bench` after `--`. The
table has the plans and the run's record: seconds of training, of evaluation and in all, peak memory, bytes of checkpoints. On
a machine with other work, `--processor-time` with OMP_NUM_THREADS=1 makes every clock of the process, the run's too, count
processor time; waiting for the disk is then left out. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

STRATEGIES = ("finetune", "zscl", "wise-ft", "lora", "icarl", "paint-sequential", "ranpac", "moe-adapters")
COLUMNS = (
    "run",
    "strategy",
    "quantity",
    "planned",
    "measured",
    "unit",
    "ratio",
    "command",
    "revision",
    "measured_on",
    "machine",
)


def config_of(flags):
    """Return the run that these flags of `bench` ask for."""
    from harness.commands import bench

    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    [config] = bench.configs(parser.parse_args(flags))
    return config


def planned(flags):
    """Return the plan as JSON."""
    config = config_of(flags)
    # After the configuration, as in the command: `models` has to defer packages before Avalanche is imported.
    from harness.plan.plan import make_plan

    return make_plan(config).document()


def measured(flags):
    """Make the run, and return its record, its time and the bytes that it leaves."""
    from harness.display.screen import Screen
    from harness.run.loop import run

    config, began = config_of(flags), time.perf_counter()
    folder = run(config, Screen(quiet=True)).folder
    seconds = time.perf_counter() - began
    kept = sum(path.stat().st_size for path in folder.glob("checkpoint/after-*/*"))
    return {**json.loads((folder / "run.json").read_text()), "total": seconds, "kept": kept}


def compared(plans, record):
    """Return planned and measured numbers with their unit by quantity. Times are the mean of the plans."""
    times = {name: sum(plan["seconds"][name] for plan in plans) / len(plans) for name in ("training", "evaluation", "total")}
    return {
        "training": (times["training"], record["train_seconds"], "s"),
        "evaluation": (times["evaluation"], record["eval_seconds"], "s"),
        "total": (times["total"], record["total"], "s"),
        "memory": (plans[0]["memory"]["peak"] / 1e6, record["peak_memory_mb"], "MB"),
        "checkpoints": (plans[0]["disk"]["kept"] / 1e6, record["kept"] / 1e6, "MB"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--csv", help="add the rows to this table")
    parser.add_argument("--name", default="mtil, mini edition", help="of the runs, for the table")
    parser.add_argument("--processor-time", action="store_true", help="every clock of the process counts processor time")
    parser.add_argument("--machine", default=platform.processor() or platform.machine(), help="for the table")
    parser.add_argument("--one", choices=["plan", "run"], help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="flags of bench, after --")
    arguments = parser.parse_args()
    if arguments.one:
        if arguments.processor_time:
            time.perf_counter = time.process_time
        print(json.dumps({"plan": planned, "run": measured}[arguments.one](arguments.flags)))
        return
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    flags = arguments.flags or ["mtil"]
    clock = ["--processor-time"] if arguments.processor_time else []
    command = " ".join(["python tests/speed/plan.py", *clock, *(["--", *flags] if arguments.flags else [])])
    table = []
    for strategy in arguments.strategies:
        plans, record = [], {}
        with tempfile.TemporaryDirectory() as out:
            for what in ("plan", "run", "plan"):
                words = [sys.executable, __file__, "--one", what, *clock, "--", *flags, "--strategy", strategy, "--out", out]
                result = subprocess.run(words, capture_output=True, text=True, env=os.environ, check=False)
                if result.returncode:
                    sys.exit(f"{strategy}: {result.stderr[-2000:]}")
                document = json.loads(result.stdout.splitlines()[-1])
                record = document if what == "run" else record
                plans += [document] if what == "plan" else []
        for quantity, (planned_value, measured_value, unit) in compared(plans, record).items():
            ratio = planned_value / measured_value if measured_value else float("nan")
            print(f"{strategy:18} {quantity:12} {planned_value:10.1f} {measured_value:10.1f} {unit:3} {ratio:6.2f}", flush=True)
            numbers = (f"{planned_value:.1f}", f"{measured_value:.1f}", unit, f"{ratio:.2f}")
            origin = (command, revision, datetime.date.today().isoformat(), arguments.machine)
            table.append((arguments.name, strategy, quantity, *numbers, *origin))
    if arguments.csv:
        path, new = Path(arguments.csv), not Path(arguments.csv).exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS, *table] if new else table)


if __name__ == "__main__":
    main()
