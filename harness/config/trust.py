"""Ask before running code that the command line does not name. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.names import names_from_words
from harness.config.config_file import read_file
from harness.config.user_file import file_of, is_file
from harness.records.files import file_sha256
from models.files import reason
from models.registry import UserError


def check_code(arguments: argparse.Namespace) -> None:
    """Raise UserError for a configuration file that names code which the user has not agreed to run.

    The user agrees by naming the same file on the command line, by --trust-code, or by a yes on the terminal, which sets
    `trust_code`.

    Args:
        arguments: the flags of `bench`, or those of `sweep`.
    """
    if not arguments.config or arguments.trust_code:
        return
    named = {file_of(name).resolve() for name in _named(arguments)}
    for path in sorted({path for path in map(file_of, _from_file(arguments)) if path.resolve() not in named}):
        fact = f"{arguments.config} names {path.resolve()} (SHA-256 {_sha256(path)}), whose code would be run"
        if not _agrees(fact, arguments.quiet):
            raise UserError(f"{fact}. Read it, then add --trust-code, or name it with --strategy, --tuning, --plugin or --log.")
        arguments.trust_code = True


def _named(arguments: argparse.Namespace) -> list[str]:
    """Return the files of code that the command line names."""
    words = [
        *(getattr(arguments, "strategies", None) or ()),
        arguments.strategy or "",
        arguments.tuning or "",
        *(arguments.plugins or ()),
        *(arguments.log or ()),
    ]
    return [name for name in names_from_words(words) if is_file(name)]


def _from_file(arguments: argparse.Namespace) -> list[str]:
    """Return the files of code that the configuration names and the command line does not override."""
    settings: Mapping[str, Any] = read_file(arguments.config)
    names: list[str] = []
    if arguments.strategy is None and not getattr(arguments, "strategies", None):
        names.append(settings.get("strategy", ""))
    if arguments.tuning is None:
        names.append(settings.get("tuning") or "")
    if arguments.plugins is None:
        names += settings.get("plugins", ())
    if arguments.log is None:
        names += settings.get("log", ())
    return [name for name in names if is_file(name)]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read the code {path}: {reason(error)}.") from error


def _agrees(fact: str, quiet: bool) -> bool:
    """Ask on the terminal whether code may be run. Without a terminal the answer is no."""
    if quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{fact}. Run it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
