"""`list`: list the names that other commands take, each with a short description."""

from __future__ import annotations

import argparse

from harness.config.flags import add_flags, read_flags
from harness.config.run_config import RunConfig
from models.registry import UserError, unknown

FLAGS = ("edition", "tasks", "dataset", "model", "pretrained", "tuning", "data_root")
"""Settings of a run that decide which values are in effect."""
LISTS = ("benchmarks", "strategies", "plugins", "tunings", "measures", "metrics", "domains", "models")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `list` to its parser."""
    parser.description = "List the names that other commands take, each with a short description."
    parser.add_argument("what", nargs="?", help=f"{', '.join(LISTS)} (default: all of them)")
    parser.add_argument("name", nargs="?", help="after `strategies`: show the options of this one with the values in effect")
    parser.add_argument("--long", action="store_true", help="domains with licences and sources, strategies with their options")
    parser.add_argument(
        "--benchmark", default="mtil", metavar="NAME", help="the benchmark whose values are in effect (default: mtil)"
    )
    add_flags(parser, RunConfig, only=FLAGS)


def run(arguments: argparse.Namespace) -> int:
    """Print the lists. Raises UserError."""
    from harness.display.lists import print_list

    if arguments.what is not None and arguments.what not in LISTS:
        raise unknown("list", arguments.what, LISTS)
    if arguments.name is not None:
        if arguments.what != "strategies":
            raise UserError(f"`list {arguments.what}` takes no name; `list strategies NAME` does.")
        _show_strategy(arguments)
        return 0
    for what in [arguments.what] if arguments.what else LISTS:
        print_list(what, long=arguments.long, title=arguments.what is None)
    return 0


def _show_strategy(arguments: argparse.Namespace) -> None:
    """Show a strategy's options with the values in effect. Raises UserError."""
    from harness.config.resolve import outline, resolve
    from harness.display.console import make_console
    from harness.display.strategy_help import print_strategy

    flags = {name: value for name, value in read_flags(arguments, RunConfig).items() if name in FLAGS}
    config = RunConfig(arguments.benchmark, arguments.name, **flags)
    print_strategy(outline(config) or resolve(config), make_console())
