"""`sweep` on the command line: its flags, and what is then run. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.names import names_from_words
from harness.commands import bench
from harness.config.options import check_device, check_least, parse_assignments
from harness.config.user_file import is_file
from models.registry import UserError, printable, unknown

if TYPE_CHECKING:
    from harness.sweep.grid import Run
    from harness.sweep.scheduler import Backend

BACKENDS = ("local", "ray", "slurm")
# The flags that mean something to one backend alone.
ONLY = {
    "devices": "local",
    "ray_address": "ray",
    "cpus_per_run": "ray",
    "gpus_per_run": "ray",
    "slurm": "slurm",
    "slurm_local": "slurm",
}
ABOUT = """\
Run a grid: every strategy with every order and every seed, each as `bench` in a process of its own. All flags of `bench` hold
for every run. The same command again, or with more names, fills what is missing: finished runs are left alone, interrupted
and failed ones go on from their last checkpoint. One failure stops nothing else; the exit status is 1 if any run is left.
"""
EXAMPLES = """\
examples:
  python cli.py sweep --strategies zscl,wise-ft,lora --seeds 0,1,2 --orders I,II        18 runs, one after the other
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --jobs 2                       two at a time, the processors shared out
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --devices cuda:0,cuda:1        one on each GPU (--jobs 4: two on each)
  python cli.py sweep cil --strategies zscl,lwf --seeds 0,1,2 --set iterations=80       any flags of bench
  python cli.py sweep --strategies zscl,wise-ft --set wise-ft.alpha=0.3                 an option of one of them
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --status                       what is finished, failed, missing, ...
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --shard 2/4                    the second of four machines
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --backend ray --ray-address HOST:6379 --gpus-per-run 0.5
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --backend slurm --slurm partition=gpu gpus_per_node=1 cpus_per_task=8

each run's output: OUT/logs/<benchmark>-<edition>-<order>-<strategy>-seed<N>-<key>.log
Ctrl-C (or SIGTERM) lets every run save and stops; the same command goes on.
"""


def add_commands(commands: Any, add_shared: Callable[..., None]) -> None:
    """Add the command and its flags to the command line's; `add_shared` adds the flags that others have too."""
    of_bench = argparse.ArgumentParser(add_help=False)
    bench.add_arguments(of_bench, add_shared)
    command = commands.add_parser(
        "sweep",
        help="a grid of runs, on one machine or a cluster",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="perennial sweep [mtil|cil|stream] --strategies A,B [--seeds 0,1,2] [--orders I,II] [flags]",
    )
    command.set_defaults(of_bench=of_bench)
    grid = command.add_argument_group("the grid")
    grid.add_argument(
        "--strategies", nargs="+", metavar="A,B", help="names from `list strategies`, or FILE.py:Class, whose code is run"
    )
    grid.add_argument("--seeds", nargs="+", metavar="0,1,2", help="whole numbers and ranges (0-4)")
    grid.add_argument("--orders", nargs="+", metavar="I,II", help="I, II, and further words: comma-joined names are one order")
    grid.add_argument("--shard", metavar="I/N", help="every N-th run of the grid from the I-th on: 1/4 to 4/4 on four machines")
    ways = command.add_argument_group("what to do")
    ways.add_argument("--status", action="store_true", help="only show how far each run is")
    ways.add_argument("--dry-run", action="store_true", help="only print every run with its state and command")
    ways.add_argument(
        "--retries", type=int, default=1, metavar="N", help="start a failed or lost run again, N times (default 1)"
    )
    where = command.add_argument_group("where")
    where.add_argument("--backend", default="local", help="local (default), ray or slurm")
    where.add_argument("--jobs", type=int, metavar="N", help="at most N at a time (default: local one, or one a device)")
    where.add_argument("--devices", nargs="+", metavar="cuda:0,cuda:1", help="local: dealt out over the runs")
    where.add_argument("--ray-address", metavar="ADDRESS", help="ray: of a cluster (default: one is started on this machine)")
    where.add_argument("--cpus-per-run", type=float, metavar="N", help="ray: processors of a run (default: 1)")
    where.add_argument("--gpus-per-run", type=float, metavar="N", help="ray: may be a fraction (default: 1 if there are any)")
    where.add_argument(
        "--slurm",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="slurm: of submitit (timeout_min, mem_gb, cpus_per_task, gpus_per_node) or Slurm (partition, qos, ...)",
    )
    where.add_argument("--slurm-local", action="store_true", help="slurm: submitit's stand-in on this machine, for a try")
    bench.add_arguments(command.add_argument_group("of every run, as `bench` has them"), add_shared)


def sweep(arguments: argparse.Namespace) -> int:
    """Run `sweep`: 0 when all runs are finished, 1 when some are not, 130 after an interrupt. Raises UserError."""
    check(arguments)
    from harness.config.trust import check_code
    from harness.display.screen import Screen
    from harness.run.signals import importing
    from harness.sweep import grid as plan

    screen = Screen(quiet=arguments.quiet)
    starts = not (arguments.status or arguments.dry_run)
    if starts:
        check_code(arguments)
        screen.say("reading the grid ...", style="dim")
    with importing() if starts else nullcontext():
        runs = plan.grid(arguments.of_bench, arguments, bench.configs, runs_code=starts)
    if arguments.shard is not None:
        runs = plan.part(runs, plan.shard_of(arguments.shard))
    if not runs:
        screen.say(f"shard {arguments.shard} holds no run of this grid")
        return 0
    if arguments.status:
        from harness.sweep.sweep_screen import show_status

        show_status(runs, screen)
        return 0
    if arguments.dry_run:
        return dry_run(runs, arguments)
    return work(runs, arguments, screen)


def check(arguments: argparse.Namespace) -> None:
    """The mistakes that can be told at once. Raises UserError."""
    from harness.run.process_group import processes
    from harness.sweep.grid import shard_of

    if processes() > 1:
        raise UserError("sweep starts its own processes: leave torchrun out.")
    if arguments.status and arguments.dry_run:
        raise UserError("--status and --dry-run are two things to do: leave one out.")
    if arguments.backend not in BACKENDS:
        raise unknown("backend", arguments.backend, BACKENDS)
    for name, backend in ONLY.items():
        if getattr(arguments, name) not in (None, False) and arguments.backend != backend:
            raise UserError(f"--{name.replace('_', '-')} is for --backend {backend}.")
    check_least(vars(arguments), jobs=1, retries=0, cpus_per_run=0, gpus_per_run=0)
    for name in ("cpus_per_run", "gpus_per_run"):
        if not math.isfinite(getattr(arguments, name) or 0):
            raise UserError(f"--{name.replace('_', '-')} must be a finite number, got {getattr(arguments, name)}.")
    if arguments.devices is not None and arguments.device is not None:
        raise UserError("--devices and --device say the same: leave one out.")
    if arguments.devices is not None and not devices_of(arguments):
        raise UserError("--devices names nothing.")
    for name in devices_of(arguments):
        check_device(name)
    if arguments.shard is not None:
        shard_of(arguments.shard)
    parse_slurm(arguments)


def devices_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The names of --devices."""
    return names_from_words(arguments.devices or [])


def parse_slurm(arguments: argparse.Namespace) -> dict[str, str]:
    """The words of --slurm by key. Raises UserError."""
    try:
        return parse_assignments(arguments.slurm or [])
    except UserError as error:
        raise UserError(str(error).replace("--set", "--slurm")) from error


def dry_run(runs: list[Run], arguments: argparse.Namespace) -> int:
    """Print every run with its state and its command, ready for a shell: what needs no start is a comment."""
    from harness.sweep.grid import command_of
    from harness.sweep.run_status import counts, look

    jobs, states = arguments.backend == "slurm" and not arguments.slurm_local, []
    for run in runs:
        status = look(run)
        states.append(status.state)
        command = shlex.join(command_of(run, arguments.fresh))
        starts = not jobs and (status.state not in ("finished", "running") or (arguments.fresh and status.state != "running"))
        tasks = f" ({status.done} of {status.of} tasks)" if status.of else ""
        print(printable(f"# {status.state}{tasks}: {run}"))
        print(printable(command) if starts else printable(f"# {command}"))
    print(f"# {len(runs)} run{'s' * (len(runs) != 1)}: {counts(states)}")
    if any(is_file(run.strategy) for run in runs):
        print("# Options of a strategy file are checked when its run starts, since only its code knows them.")
    if jobs:
        from harness.sweep.slurm_backend import script

        print("# The script that each run is submitted with. submitit puts the run's command into a file beside it.")
        print(script(Path(arguments.out or "results") / "logs" / "submitit", parse_slurm(arguments)))
    return 0


def work(runs: list[Run], arguments: argparse.Namespace, screen: Any) -> int:
    """Fill the grid, and say what came of it."""
    from harness.display.console import complain
    from harness.sweep.scheduler import Interrupted, fill
    from harness.sweep.sweep_screen import SweepScreen, how_to_go_on, many

    out = str(runs[0].log.parent.parent)
    shown, backend = SweepScreen(screen), make_backend(arguments, Path(out) / "logs" / "submitit")
    try:
        outcomes = fill(runs, backend, shown, fresh=arguments.fresh, retries=arguments.retries)
    except Interrupted as stop:
        shown.summary(stop.outcomes, out, arguments.fresh)
        left = f" ({many(len(stop.left))} still queued or running)" if stop.left else ""
        complain(f"interrupted; {how_to_go_on(stop.outcomes, arguments.fresh)}{left}.")
        return 130
    finally:
        backend.close()
    shown.summary(outcomes, out, arguments.fresh)
    return 0 if all(outcome.state == "finished" for outcome in outcomes) else 1


def make_backend(arguments: argparse.Namespace, folder: Path) -> Backend:
    """Where the runs are started. Raises UserError when it is not there."""
    if arguments.backend == "ray":
        from harness.sweep.ray_backend import Ray

        cpus = 1.0 if arguments.cpus_per_run is None else arguments.cpus_per_run
        return Ray(arguments.ray_address, cpus, arguments.gpus_per_run, arguments.jobs)
    if arguments.backend == "slurm":
        from harness.sweep.slurm_backend import Slurm

        return Slurm(folder, parse_slurm(arguments), arguments.slurm_local, arguments.jobs)
    from harness.sweep.local_backend import Local

    return Local(arguments.jobs, devices_of(arguments))
