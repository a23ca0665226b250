"""`compare`: compare two methods on the same data and seeds, with intervals."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.config.flags import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `compare` to its parser."""
    parser.description = "Compare two methods in pairs over seeds and tasks, with 95 % bootstrap intervals."
    parser.add_argument(
        "a",
        metavar="A",
        help="a strategy as the leaderboard names it, with options that select its runs (zscl:l2=0.5), or a folder of runs",
    )
    parser.add_argument("b", metavar="B", help="the other strategy or folder; without options, all of its other runs")
    parser.add_argument(
        "--results", nargs="+", metavar="DIR", default=["results"], help="folders in which strategies are looked up (results)"
    )
    add_output(parser, csv="write the table as CSV")


def run(arguments: argparse.Namespace) -> int:
    """Show two methods side by side, and write the table with --csv. Raises UserError."""
    from harness.display.comparison_table import comparison_tables
    from harness.display.screen import Screen
    from harness.records import compare
    from harness.records.files import check_table, write_table

    check_table(arguments.csv)
    screen = Screen(quiet=arguments.quiet)
    config = compare.CompareConfig(arguments.a, arguments.b, names_from_words(arguments.results))
    table = compare.compare(config, say=lambda sentence: screen.say(sentence, style="yellow"))
    if arguments.csv:
        write_table(table, arguments.csv)
    for i, block in enumerate(comparison_tables(table)):
        if i:
            screen.say("")
        screen.show(block)
    screen.say(compare.MEANINGS, style="dim")
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(table)} rows)")
    return 0
