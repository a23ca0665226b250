"""`list`: list the names that other commands take, each with a short description."""

from __future__ import annotations

import argparse

from models.registry import unknown

LISTS = ("benchmarks", "strategies", "plugins", "tunings", "measures", "metrics", "domains", "models")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `list` to its parser."""
    parser.description = "List the names that other commands take, each with a short description."
    parser.add_argument("what", nargs="?", help=f"{', '.join(LISTS)} (default: all of them)")
    parser.add_argument("--long", action="store_true", help="domains with licences and sources, strategies with all options")


def run(arguments: argparse.Namespace) -> int:
    """Print the lists. Raises UserError."""
    from harness.display.lists import print_list

    if arguments.what is not None and arguments.what not in LISTS:
        raise unknown("list", arguments.what, LISTS)
    for what in [arguments.what] if arguments.what else LISTS:
        print_list(what, long=arguments.long, title=arguments.what is None)
    return 0
