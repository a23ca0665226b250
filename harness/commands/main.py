"""The command line: find the command, run it, and report expected failures in one sentence."""

from __future__ import annotations

import argparse
import functools
import importlib
import os
from collections.abc import Sequence

from harness.commands import COMMANDS, EXAMPLES
from harness.commands.parser import Parser
from models.files import ENVIRONMENT_ERRNOS, reason
from models.registry import UserError


def make_parser() -> Parser:
    """Return the parser of all commands. A command is imported when its arguments or its help are asked for."""
    top = Parser(
        prog="perennial",
        description="Continual learning of vision-language models: what does the model learn, and what does it forget?",
        epilog=EXAMPLES,
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
