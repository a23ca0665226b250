"""Ask before code is run that the command line does not name. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.names import split_names
from harness.config.config_file import read_file
from harness.config.user_file import file_of, is_file
from harness.records.files import file_sha256
from models.files import reason
from models.registry import UserError


def check_code(arguments: argparse.Namespace) -> None:
    """Raise UserError where a configuration file names code and nobody has agreed that it is run.

    Agreed is: the command line names the same file, --trust-code, or a yes on the terminal, which sets `trust_code`.
    `arguments` has the flags of `bench`, and perhaps `strategies`.
    """
    if not arguments.config or arguments.trust_code:
        return
    asked = {file_of(name).resolve() for name in _named(arguments)}
    unknown = {path for path in map(file_of, _from_file(arguments)) if path.resolve() not in asked}
    for path in sorted(unknown):
        what = f"{arguments.config} names {path.resolve()} (SHA-256 {_sha256(path)}), whose code would be run"
        if not _agrees(what, arguments.quiet):
            raise UserError(f"{what}. Read it, then add --trust-code, or name it with --strategy or --plugin.")
        arguments.trust_code = True


def _named(arguments: argparse.Namespace) -> list[str]:
    """Return the files of code that the command line names."""
    given = [*(getattr(arguments, "strategies", None) or ()), arguments.strategy or "", *(arguments.plugins or ())]
    return [name for name in split_names(",".join(given)) if is_file(name)]


def _from_file(arguments: argparse.Namespace) -> list[str]:
    """Return the files of code that the configuration names and the command line does not override."""
    settings: Mapping[str, Any] = read_file(arguments.config)
    names: list[str] = []
    if arguments.strategy is None and not getattr(arguments, "strategies", None):
        names.append(settings.get("strategy", ""))
    if arguments.plugins is None:
        names += settings.get("plugins", ())
    return [name for name in names if is_file(name)]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read the code {path}: {reason(error)}.") from error


def _agrees(what: str, quiet: bool) -> bool:
    if quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{what}. Run it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
