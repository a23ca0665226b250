"""The command line: find the command, run it, and report expected failures in one sentence. Imports no command by itself."""

from __future__ import annotations

import argparse
import functools
import importlib
import os
from collections.abc import Sequence

from harness.commands import COMMANDS
from harness.commands.parser import Parser
from models.files import ENVIRONMENT_ERRNOS, reason
from models.registry import UserError

EPILOG = """\
examples:
  python cli.py bench mtil --strategy zscl                      mini edition, Order I, seed 0: two minutes on a laptop
  python cli.py bench mtil --strategy finetune --seed 0 1 2     three runs
  python cli.py bench mtil --strategy zscl --order II --set l2=0.1 iterations=80
  python cli.py bench mtil --strategy my_method.py:MyMethod     your own method, from its file
  python cli.py bench cil --strategy zscl                       class-incremental, mini edition: one minute
  python cli.py bench cil --dataset PHOTOS --steps 5            the same on your own folder: PHOTOS/CLASS/*.jpg
  python cli.py bench stream --tasks PHOTOS,digits              any domains, one after the other
  python cli.py bench mtil --edition full --data-root DATA      the paper's eleven datasets, ViT-B-16
  python cli.py sweep --strategies zscl,lora --seeds 0-4        a grid of runs, on one machine or a cluster
  python cli.py leaderboard --csv leaderboard.csv               all finished runs, one row per method
  python cli.py measure PHOTOS digits                           IIMM and other measures, before any training
  python cli.py predict PHOTOS                                  what fine-tuning on it will gain and cost
  python cli.py compare zscl finetune                           paired differences with 95 % intervals
  python cli.py report --html report.html                       one page about all finished runs
  python cli.py check my_method.py:MyMethod                     does the method survive an interruption?
  python cli.py list strategies                                 what --strategy takes
"""


def make_parser() -> Parser:
    """Return the parser of all commands. A command is imported when its arguments or its help are asked for."""
    top = Parser(
        prog="perennial",
        description="Continual learning of vision-language models: what does the model learn, and what does it forget?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line).fill = functools.partial(_add_arguments, name)
    return top


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    importlib.import_module(f"harness.commands.{name}").add_arguments(parser)


def _version() -> str:
    """Return "perennial 0.1.0", or "perennial (not installed)" in a folder without an installation."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"perennial {version('perennial')}"
    except PackageNotFoundError:
        return "perennial (not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and report expected failures in one sentence.

    Args:
        argv: the words of the command line; None: those of this process.

    Returns:
        0 on success, 1 if the output cannot be written, 2 for a mistake in the command, 130 or 143 after a signal.

    Raises:
        SystemExit: with status 1, for a run that failed.
    """
    from harness.display.console import OutputError, complain, output
    from harness.run.signals import Stopped, handled, stop

    try:
        with handled(stop), output():
            return _run_command(argv)
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
        if "home directory" not in str(error):  # pathlib's message for a path with ~
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


def _run_command(argv: Sequence[str] | None) -> int:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("The working directory no longer exists: change to another one with cd.") from error
    arguments = make_parser().parse_args(argv)
    try:
        status: int = importlib.import_module(f"harness.commands.{arguments.command}").run(arguments)
        return status
    except SystemExit as error:
        if error.code in (None, 0):
            raise UserError("A strategy, a plugin or an installed package called exit() before the end.") from error
        raise
