#!/usr/bin/env python3
"""Perennial on the command line: `python cli.py bench mtil --strategy zscl`."""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` answers signals, an interrupt ends the process without Python's traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
from collections.abc import Sequence
from typing import Any

if not (3, 11) <= sys.version_info[:2] < (3, 13):
    raise SystemExit(
        f"perennial: Python 3.11 or 3.12 is needed, and this is {sys.version.split()[0]}. `make bench` sets up the environment "
        ".venv with one of them; activate it with `source .venv/bin/activate`."
    )

from models.files import ENVIRONMENT_ERRNOS, reason
from models.registry import UserError, unknown

PACKAGES = {
    *("torch", "torchvision", "avalanche", "open_clip", "timm", "transformers", "huggingface_hub", "datasets", "peft"),
    *("pandas", "rich", "numpy", "PIL", "safetensors", "scipy", "filelock", "matplotlib", "mlxtend", "qtawesome"),
    *("skimage", "sklearn", "threadpoolctl", "setuptools"),
}
"""Modules of the packages that the project needs (`pyproject.toml`)."""
EPILOG = """\
examples:
  python cli.py bench mtil --strategy zscl                      mini edition, Order I, seed 0: two minutes on a laptop
  python cli.py bench mtil --strategy finetune --seed 0 1 2     three runs
  python cli.py bench mtil --strategy zscl --order II --set l2=0.1 iterations=80
  python cli.py bench mtil --strategy my_method.py:MyMethod     a method of your own, from its file
  python cli.py bench cil --strategy zscl                       class-incremental, mini edition: a minute
  python cli.py bench cil --dataset PHOTOS --steps 5            the same on a folder of yours: PHOTOS/CLASS/*.jpg
  python cli.py bench stream --tasks PHOTOS,digits              any domains, one after the other
  python cli.py bench mtil --edition full --data-root DATA      the paper's eleven datasets, ViT-B-16
  python cli.py sweep --strategies zscl,lora --seeds 0-4        a grid of runs, on one machine or a cluster
  python cli.py leaderboard --csv leaderboard.csv               all finished runs, one row a method
  python cli.py measure PHOTOS digits                           IIMM and other measures, before any training
  python cli.py predict PHOTOS                                  what fine-tuning on it would gain and cost, by a study
  python cli.py compare zscl finetune                           paired differences with 95 % intervals
  python cli.py report --html report.html                       one page about all finished runs
  python cli.py check my_method.py:MyMethod                     does it survive an interruption?
  python cli.py list strategies
"""


# What several commands have; where the help text is missing, each has its own.
SHARED: dict[str, dict[str, Any]] = {
    "results": {"nargs": "*", "metavar": "RESULTS", "help": "result folders or run.json files (default: results)"},
    "--model": {},
    "--pretrained": {"help": "the open_clip tag of the weights, a file, or random"},
    "--data-root": {"metavar": "DIR"},
    "--classnames": {"metavar": "FILE", "help": "class names of your own dataset, one a line"},
    "--templates": {"metavar": "FILE", "help": "prompt templates of your own dataset, one a line, with {}"},
    "--limit": {"type": int, "metavar": "N"},
    "--measure-n": {"type": int, "metavar": "N"},
    "--measures": {"nargs": "+", "metavar": "NAME"},
    "--set": {"nargs": "+", "action": "extend", "metavar": "KEY=VALUE"},
    "--device": {"help": "auto (default), cpu, cuda, cuda:N"},
    "--workers": {"type": int, "metavar": "N"},
    "--no-cache": {"dest": "cache", "action": "store_false", "default": None},
    "--csv": {"metavar": "FILE"},
    "--quiet": {"action": "store_true", "help": "print nothing but errors"},
}


def add_shared(command: argparse._ActionsContainer, *flags: str, **more: Any) -> None:
    """Add arguments of `SHARED` to a command; `more` is what they have there alone."""
    for flag in flags:
        command.add_argument(flag, **SHARED[flag], **more)


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    from harness.commands.analysis import add_commands as add_analysis_commands
    from harness.commands.bench import add_arguments as add_bench_arguments
    from harness.commands.check import add_command as add_check_command
    from harness.commands.data import add_arguments as add_data_arguments
    from harness.commands.parser import Parser
    from harness.commands.study import add_commands as add_study_commands
    from harness.commands.sweep import add_commands as add_sweep_commands

    top = Parser(
        prog="perennial",
        description="Continual learning of vision-language models: what does the model learn, what does it forget?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    bench = commands.add_parser(
        "bench",
        help="run a benchmark with a strategy",
        description="Run a benchmark. The same command again continues an interrupted run and skips a finished one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_bench_arguments(bench, add_shared)

    add_sweep_commands(commands, add_shared)
    add_check_command(commands, add_shared)

    measuring = commands.add_parser(
        "measure",
        help="what one forward pass says of a dataset, before any training",
        description="IIMM and other measures of a sample of the training split, and zero-shot accuracy, without any training.",
    )
    measuring.add_argument("datasets", nargs="+", metavar="DATASET", help="names from `list domains`, folders, CSV files, ...")
    measuring.add_argument("--edition", help="mini, full or own (default: what the names belong to)")
    add_shared(measuring, "--model", help="tiny, an open_clip name, a model directory, hf-hub:NAME")
    add_shared(measuring, "--pretrained")
    add_shared(measuring, "--data-root", help="where the papers' datasets are (default: data)")
    add_shared(measuring, "--classnames", "--templates")
    add_shared(measuring, "--measure-n", help="images of the training split (default: 1000)")
    add_shared(measuring, "--measures", help="names from `list measures` (default: all that need one model)")
    add_shared(measuring, "--limit", help="at most N test images")
    measuring.add_argument("--seed", type=int, metavar="N", help="of the samples (default: 0)")
    add_shared(measuring, "--device")
    add_shared(measuring, "--no-cache", help="decode test images each time")
    add_shared(measuring, "--csv", help="write the table as CSV, one row a measure and dataset")
    add_shared(measuring, "--quiet")

    data = commands.add_parser(
        "data",
        help="the papers' datasets: what is there, get it, check it",
        description="The papers' datasets and your own: what is there, get what can be downloaded, check every image.",
    )
    add_data_arguments(data)

    board = commands.add_parser(
        "leaderboard",
        help="one table over finished runs",
        description="The leaderboard of all finished runs, derived from their records; seeds are averaged.",
    )
    add_shared(board, "results")
    add_shared(board, "--csv", help="write the table as CSV")
    board.add_argument("--published", action="store_true", help="add the papers' published rows (full edition)")
    board.add_argument("--quiet", action="store_true", help="do not print the table")

    add_study_commands(commands, add_shared)
    add_analysis_commands(commands, add_shared)

    listing = commands.add_parser("list", help="what there is to choose from", description="What there is to choose from.")
    listing.add_argument("what", nargs="?", help=", ".join(LISTS))
    listing.add_argument("--long", action="store_true", help="with licences and sources; of strategies all about them")
    return top


def _version() -> str:
    """Return "perennial 0.1.0", with "not installed" in place of the number when run from a folder without installation."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"perennial {version('perennial')}"
    except PackageNotFoundError:
        return "perennial (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns 0 when it worked, 1 when its output could not be written, 2 for a mistake in it or a package that is not installed,
    130 or 143 after a signal. Raises SystemExit(1) for a run that failed.
    """
    try:
        return _main(argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in PACKAGES:
            raise
        print(
            f"perennial: the package {error.name} is not installed for {sys.executable}. Activate the environment that "
            "`make bench` has set up, `source .venv/bin/activate`, or install the project: `pip install -e .`.",
            file=sys.stderr,
        )
        return 2


def _main(argv: Sequence[str] | None) -> int:
    from harness.display.console import OutputError, complain, output
    from harness.run.signals import Stopped, handled, stop

    try:
        with handled(stop), output():
            return _command(argv)
    except UserError as error:
        complain(str(error))
        return 2
    except OutputError:
        return 1
    except OSError as error:
        if error.errno not in ENVIRONMENT_ERRNOS:
            raise
        complain(f"{reason(error)}{f': {error.filename!s:.200}' if error.filename else ''}.")
        return 1
    except RuntimeError as error:
        if "home directory" not in str(error):  # pathlib's words for a path with ~
            raise
        complain(
            "your home folder is unknown (HOME is not set and this user has no account): set HOME, or write paths without ~."
        )
        return 2
    except Stopped as stopped:
        complain(f"{stopped.word}.")
        return stopped.status
    except KeyboardInterrupt:
        complain("interrupted.")
        return 130


def _command(argv: Sequence[str] | None) -> int:
    from harness.commands import analysis
    from harness.commands import bench as benching
    from harness.commands import check as checks
    from harness.commands import study as studies
    from harness.commands import sweep as sweeps

    commands = {
        "bench": benching.bench,
        "sweep": sweeps.sweep,
        "check": checks.check,
        "measure": measure,
        "study": studies.study,
        "predict": studies.predict,
        "data": data,
        "leaderboard": show_leaderboard,
        "compare": analysis.show_comparison,
        "report": analysis.show_report,
        "list": show_list,
    }
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("The working directory no longer exists: change to another one with cd.") from error
    arguments = parser().parse_args(argv)
    try:
        return commands[arguments.command](arguments)
    except SystemExit as error:
        if error.code in (None, 0):
            raise UserError("A strategy, a plugin or an installed package called exit() before the end.") from error
        raise


def measure(arguments: argparse.Namespace) -> int:
    """`measure`: datasets by measures."""
    from benchmarks.catalog import check_present, find
    from benchmarks.names import names_from_words
    from harness.commands.study import given
    from harness.config.options import check_least
    from harness.display.screen import Screen
    from harness.records.files import check_table
    from harness.run.signals import handled, importing, stop
    from metrics.suite import select_measures

    settings = given(arguments, "csv")
    settings["datasets"] = names_from_words(arguments.datasets, settings.get("data_root", "data"))
    check_least(settings, measure_n=2, limit=1, seed=0)
    check_table(arguments.csv)
    if arguments.measures is not None:
        settings["measures"] = select_measures(names_from_words(arguments.measures))
    root = settings.get("data_root", "data")
    check_present([find(name, arguments.edition, root) for name in settings["datasets"]])
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch ...", style="dim")
    with importing():
        from harness.display.measure_table import print_measures
        from harness.records.files import write_table
        from harness.run.failures import expected
        from harness.study import measure as measuring

    with expected(part=None), handled(stop):
        table = measuring.measure(measuring.MeasureConfig(**settings), screen)
    if arguments.csv:
        write_table(table, arguments.csv)
    print_measures(table, screen)
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(table)} rows)")
    return 0


def data(arguments: argparse.Namespace) -> int:
    """`data`: status, fetch, verify."""
    from harness.commands.data import run

    return run(arguments)


def show_leaderboard(arguments: argparse.Namespace) -> int:
    """`leaderboard`: print it, and write it with --csv."""
    from benchmarks.names import names_from_words
    from harness.display.console import make_console
    from harness.display.leaderboard_table import print_leaderboard
    from harness.records.files import write_table
    from harness.records.leaderboard import leaderboard

    results = list(names_from_words(arguments.results))
    for path in results:
        _must_exist(path)
    table = leaderboard(results or ["results"], with_published=arguments.published)
    if arguments.csv:
        write_table(table, arguments.csv)
    if not arguments.quiet:
        console = make_console()
        print_leaderboard(table, console)
        if arguments.csv:
            console.print(f"wrote {arguments.csv} ({len(table)} rows)", soft_wrap=True)
    return 0


def _must_exist(path: str) -> None:
    from pathlib import Path

    if not Path(path).exists():
        raise UserError(f"There are no results at {path!r}.")


def show_list(arguments: argparse.Namespace) -> int:
    """`list`: names with what they are."""
    from harness.display.lists import print_list

    if arguments.what is not None and arguments.what not in LISTS:
        raise unknown("list", arguments.what, LISTS)
    for what in [arguments.what] if arguments.what else LISTS:
        print_list(what, long=arguments.long, title=arguments.what is None)
    return 0


LISTS = ("benchmarks", "strategies", "plugins", "tunings", "measures", "domains", "models")

if __name__ == "__main__":
    raise SystemExit(main())
