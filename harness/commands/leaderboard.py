"""`leaderboard`: show one table of all finished runs, and write it as CSV."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.names import names_from_words
from harness.config.flags import add_output
from models.registry import UserError

RESULTS = "result folders or run.json files (default: results)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `leaderboard` to its parser."""
    parser.description = "Show the leaderboard of all finished runs, as their records give it. Seeds are averaged."
    parser.add_argument("results", nargs="*", metavar="RESULTS", help=RESULTS)
    parser.add_argument("--published", action="store_true", help="add the papers' published rows (full edition)")
    add_output(parser, csv="write the table as CSV", quiet="do not print the table")


def run(arguments: argparse.Namespace) -> int:
    """Print the leaderboard and write it with --csv. Raises UserError."""
    from harness.display.console import make_console
    from harness.display.leaderboard_table import print_leaderboard
    from harness.records.files import write_table
    from harness.records.leaderboard import leaderboard

    results = list(names_from_words(arguments.results))
    for path in results:
        if not Path(path).exists():
            raise UserError(f"There are no results at {path!r}.")
    table = leaderboard(results or ["results"], with_published=arguments.published)
    if arguments.csv:
        write_table(table, arguments.csv)
    if not arguments.quiet:
        console = make_console()
        print_leaderboard(table, console)
        if arguments.csv:
            console.print(f"wrote {arguments.csv} ({len(table)} rows)", soft_wrap=True)
    return 0
