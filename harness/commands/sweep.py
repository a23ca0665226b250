"""`sweep`: run a grid of strategies, orders and seeds. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands import bench
from harness.config.flags import add_flags, read_flags
from harness.config.settings import check_device, check_values
from harness.config.user_file import is_file
from models.registry import UserError, printable
from models.setting import setting

if TYPE_CHECKING:
    from harness.display.screen import Screen
    from harness.sweep.grid import Run
    from harness.sweep.local_backend import Local
    from harness.sweep.ray_backend import Ray
    from harness.sweep.scheduler import Backend

ONLY = {
    "devices": "local",
    "ray_address": "ray",
    "cpus_per_run": "ray",
    "gpus_per_run": "ray",
    "slurm": "slurm",
    "slurm_local": "slurm",
}
"""Flags that only one backend has."""
ABOUT = """\
Run a grid: every strategy with every order, every seed and every value of an option in --set, each as `bench` in a separate
process. All flags of `bench` are valid and hold for every run; `bench --help` lists them. The same command again, or with more
names, runs what is missing: finished runs are skipped, interrupted and failed runs continue from their last checkpoint. A
failed run does not stop the others. The exit status is 1 if any run is not finished.
"""
EXAMPLES = """\
examples:
  python cli.py sweep --strategies zscl,wise-ft,lora --seeds 0,1,2 --orders I,II        18 runs, one after the other
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --jobs 2                       two at a time, sharing the processors
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --devices cuda:0,cuda:1        one on each GPU (--jobs 4: two on each)
  python cli.py sweep cil --strategies zscl,lwf --seeds 0,1,2 --set iterations=80       with flags of bench
  python cli.py sweep --strategies zscl,wise-ft --set wise-ft.alpha=0.3                 an option of one of the strategies
  python cli.py sweep --strategies zscl --set l2=0.1,1,10 lr=1e-4,3e-4 --split val      six runs on validation images
  python cli.py sweep --strategies rapf --set step_at=0.3,0.7 step_at=0.5               two runs: the option takes a list
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --plan                         what the missing runs will cost
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --status                       the state of each run
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --shard 2/4                    the second of four machines
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --backend ray --ray-address HOST:6379 --gpus-per-run 0.5
  python cli.py sweep --strategies zscl,lora --seeds 0-4 --backend slurm --slurm partition=gpu gpus_per_node=1 cpus_per_task=8

A comma separates the values of an option that takes a number, a switch or one of a few names. In an option that takes a text or
a list, the comma is part of the value: give the option once per value.

The output of each run is in OUT/logs/<benchmark>-<edition>-<order>-<strategy>-seed<N>-<key>.log.
Ctrl-C (or SIGTERM) lets every run save its state and stops; the same command continues.
"""
GRID, ACTION, PLACE = "grid", "action", "machines"
"""Headings of `sweep --help`."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The settings of the machines that `sweep` and `tune` share."""

    jobs: int | None = setting(
        None, "run at most N at a time (default for local: one, or one per device)", group=PLACE, metavar="N", least=1
    )
    devices: tuple[str, ...] | None = setting(
        None, "local: devices to distribute the runs over", group=PLACE, metavar="cuda:0,cuda:1", items="names"
    )
    ray_address: str | None = setting(
        None, "ray: the address of a cluster (default: one is started on this machine)", group=PLACE, metavar="ADDRESS"
    )
    cpus_per_run: float = setting(1.0, "ray: processors per run (default: 1)", group=PLACE, metavar="N", least=0)
    gpus_per_run: float | None = setting(
        None, "ray: GPUs per run, also a fraction (default: 1 if there are any)", group=PLACE, metavar="N", least=0
    )


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Machines):
    """The settings of a sweep, in addition to those of its runs."""

    strategies: tuple[str, ...] | None = setting(
        None,
        "names from `list strategies`, or FILE.py:Class, which is run as code",
        group=GRID,
        metavar="A,B",
        items="names",
    )
    seeds: tuple[int, ...] | None = setting(None, "whole numbers and ranges (0-4)", group=GRID, metavar="0,1,2", items="seeds")
    orders: tuple[str, ...] | None = setting(
        None, "I, II, or one word of comma-joined names per order", group=GRID, metavar="I,II", items="words"
    )
    shard: str | None = setting(
        None, "every N-th run of the grid from the I-th on: 1/4 to 4/4 on four machines", group=GRID, metavar="I/N"
    )
    status: bool = setting(False, "only show the state of each run", group=ACTION)
    dry_run: bool = setting(False, "only print the state and the command of each run", group=ACTION)
    plan: bool = setting(False, "say what the missing runs will cost, after a short measurement of each kind", group=ACTION)
    retries: int = setting(1, "start a failed or lost run again up to N times (default: 1)", group=ACTION, metavar="N", least=0)
    backend: str = setting("local", "local (default), ray or slurm", group=PLACE, choices=lambda: ("local", "ray", "slurm"))
    slurm: Mapping[str, str] = setting(
        {},
        "slurm: parameters of submitit (timeout_min, mem_gb, cpus_per_task, gpus_per_node) or Slurm (partition, qos, ...)",
        group=PLACE,
        metavar="KEY=VALUE",
    )
    slurm_local: bool = setting(False, "slurm: try it with submitit's substitute on this machine", group=PLACE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `sweep` to its parser. Those of `bench` are valid too, and not repeated in its help."""
    parser.description, parser.epilog, parser.formatter_class = ABOUT, EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.usage = "perennial sweep [mtil|cil|stream] --strategies A,B [--seeds 0,1,2] [--orders I,II] [flags of bench]"
    add_flags(parser, SweepConfig)
    bench.add_run_flags(parser, hidden=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the sweep. Return 0 if all runs are finished, 1 if some are not, 130 after an interrupt. Raises UserError."""
    config = checked(arguments)
    from harness.config.trust import check_code
    from harness.display.screen import Screen
    from harness.run.signals import importing
    from harness.sweep.grid import grid, parse_shard, take_shard

    screen = Screen(quiet=arguments.quiet)
    starts = not (config.status or config.dry_run)
    if starts:
        check_code(arguments)
        screen.say("reading the grid ...", style="dim")
    with importing() if starts else nullcontext():
        runs = grid(bench.run_parser(), arguments, bench.configs, runs_code=starts)
    if config.shard is not None:
        runs = take_shard(runs, parse_shard(config.shard))
    if not runs:
        screen.say(f"shard {config.shard} contains no run of this grid")
        return 0
    if config.status:
        from harness.sweep.sweep_screen import show_status

        show_status(runs, screen)
        return 0
    if config.dry_run:
        return dry_run(runs, arguments, config)
    if config.plan:
        return plan_grid(runs, screen)
    return fill_grid(runs, arguments, config, screen)


def checked(arguments: argparse.Namespace) -> SweepConfig:
    """Return the settings of the sweep, checked as far as that takes no reading of files. Raises UserError."""
    from harness.run.process_group import processes
    from harness.sweep.grid import parse_shard

    if processes() > 1:
        raise UserError("sweep starts its own processes: leave torchrun out.")
    config = SweepConfig(**read_flags(arguments, SweepConfig))
    check_values(config)
    actions = [flag for flag in ("status", "dry_run", "plan") if getattr(config, flag)]
    if len(actions) > 1:
        first, second = (f"--{flag.replace('_', '-')}" for flag in actions[:2])
        raise UserError(f"{first} and {second} cannot be combined: leave one out.")
    check_machines(config, config.backend, arguments)
    if config.shard is not None:
        parse_shard(config.shard)
    return config


def check_machines(config: Machines, backend: str, arguments: argparse.Namespace) -> None:
    """Raise UserError for flags of another backend, and for devices that cannot exist."""
    for name, only in ONLY.items():
        if getattr(arguments, name, None) not in (None, False) and backend != only:
            raise UserError(f"--{name.replace('_', '-')} is only for --backend {only}.")
    if config.devices is not None and arguments.device is not None:
        raise UserError("--devices and --device cannot be combined: leave one out.")
    if config.devices == ():
        raise UserError("--devices names nothing.")
    for name in config.devices or ():
        check_device(name)


def dry_run(runs: list[Run], arguments: argparse.Namespace, config: SweepConfig) -> int:
    """Print every run with its state and its command, ready for a shell. Runs that need no start are comments."""
    from harness.sweep.grid import command_of
    from harness.sweep.run_status import counts, status_of

    submits, states = config.backend == "slurm" and not config.slurm_local, []
    for run in runs:
        status = status_of(run)
        states.append(status.state)
        command = shlex.join(command_of(run, arguments.fresh))
        starts = status.state not in ("finished", "running") or (arguments.fresh and status.state != "running")
        tasks = f" ({status.done} of {status.total} tasks)" if status.total else ""
        print(printable(f"# {status.state}{tasks}: {run}"))
        print(printable(command) if starts and not submits else printable(f"# {command}"))
    print(f"# {len(runs)} run{'s' * (len(runs) != 1)}: {counts(states)}")
    if any(is_file(run.strategy) for run in runs):
        print("# Options of a strategy file are checked when its run starts, since only its code knows them.")
    if submits:
        from harness.sweep.slurm_backend import submission_script

        print("# The script that submits each run. submitit writes the run's command to a file next to it.")
        print(submission_script(Path(arguments.out or "results") / "logs" / "submitit", dict(config.slurm)))
    return 0


def plan_grid(runs: list[Run], screen: Screen) -> int:
    """Show what the runs that are not finished will cost. Runs that differ only in their seed are measured once."""
    from harness.display.grid_plan_table import show_grid_plan
    from harness.sweep.run_status import status_of

    kinds: dict[str, list[Run]] = {}
    missing = [run for run in runs if status_of(run).state != "finished"]
    for run in missing:
        kinds.setdefault(f"{run.label}, order {run.order}", []).append(run)
    configs = [bench.configs(bench.run_parser().parse_args(alike[0].arguments))[0] for alike in kinds.values()]
    documents = list(bench.plans(configs, screen))
    show_grid_plan([(kind, len(alike), d) for (kind, alike), d in zip(kinds.items(), documents, strict=True)], screen)
    if len(missing) < len(runs):
        screen.say(f"{len(runs) - len(missing)} of {len(runs)} runs are finished and not counted")
    return 0


def fill_grid(runs: list[Run], arguments: argparse.Namespace, config: SweepConfig, screen: Screen) -> int:
    """Start the runs that are not finished, and report how they end. Return the exit status."""
    from harness.display.console import complain
    from harness.sweep.live_runs import count_runs
    from harness.sweep.scheduler import Interrupted, run_missing
    from harness.sweep.sweep_screen import SweepScreen, how_to_continue

    out = str(runs[0].log.parent.parent)
    sweep_screen, backend = SweepScreen(screen), make_backend(config, Path(out) / "logs" / "submitit")
    try:
        outcomes = run_missing(runs, backend, sweep_screen, fresh=arguments.fresh, retries=config.retries)
    except Interrupted as stop:
        sweep_screen.summary(stop.outcomes, out, arguments.fresh)
        left = f" ({count_runs(len(stop.left))} still queued or running)" if stop.left else ""
        complain(f"interrupted; {how_to_continue(stop.outcomes, arguments.fresh)}{left}.")
        return 130
    finally:
        backend.close()
    sweep_screen.summary(outcomes, out, arguments.fresh)
    return 0 if all(outcome.state == "finished" for outcome in outcomes) else 1


def make_backend(config: SweepConfig, folder: Path) -> Backend:
    """Return the backend that starts the runs. Raises UserError if it is not available."""
    if config.backend == "slurm":
        from harness.sweep.slurm_backend import Slurm

        return Slurm(folder, dict(config.slurm), config.slurm_local, config.jobs)
    return local_or_ray(config, config.backend)


def local_or_ray(config: Machines, backend: str) -> Local | Ray:
    """Return the backend "local" or "ray". Raises UserError if there is no cluster."""
    if backend == "ray":
        from harness.sweep.ray_backend import Ray

        return Ray(config.ray_address, config.cpus_per_run, config.gpus_per_run, config.jobs)
    from harness.sweep.local_backend import Local

    return Local(config.jobs, config.devices or ())
