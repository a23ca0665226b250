"""The commands that read finished runs: `report` and `compare`. Imports nothing heavy until one of them works."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_commands(commands: Any, add_shared: Callable[..., None]) -> None:
    """Add the commands and their flags to the command line's; `add_shared` adds the flags that others have too."""
    report = commands.add_parser(
        "report",
        help="one page about finished runs, with figures",
        description="One self-contained page about finished runs, which opens with no network: leaderboard, matrices, curves.",
    )
    add_shared(report, "results")
    report.add_argument("--html", metavar="FILE", default="report.html", help="the page (default: report.html)")
    report.add_argument("--figures", metavar="FOLDER", help="also every figure as SVG and PNG, with the CSV behind it")
    compare = commands.add_parser(
        "compare",
        help="two methods on the same data and seeds, with intervals",
        description="Paired comparison of two methods over seeds and tasks, with 95 % intervals of a bootstrap.",
    )
    compare.add_argument("a", metavar="A", help="a strategy as the leaderboard names it, or a folder of its runs")
    compare.add_argument("b", metavar="B", help="the other one")
    compare.add_argument("--results", nargs="+", metavar="DIR", default=["results"], help="where names are looked up (results)")
    add_shared(compare, "--csv", help="write the table as CSV")
    for command in (report, compare):
        add_shared(command, "--quiet")


def show_report(arguments: argparse.Namespace) -> int:
    """`report`: write the page, and its figures with --figures."""
    from benchmarks.names import names_from_words
    from harness.display.console import make_console
    from harness.records.files import check_table
    from harness.records.find_runs import find
    from harness.records.runs import present
    from harness.report import write
    from models.registry import UserError

    results = list(names_from_words(arguments.results)) or ["results"]
    check_table(arguments.html)
    if not find(present(results), say=lambda sentence: None):
        raise UserError(f"There is no run in {', '.join(results)}: nothing to report.")
    page = write(results, arguments.html, arguments.figures)
    if not arguments.quiet:
        figures = f" and figures in {arguments.figures}" if arguments.figures else ""
        make_console().print(f"wrote {page}{figures}", soft_wrap=True)
    return 0


def show_comparison(arguments: argparse.Namespace) -> int:
    """`compare`: two methods side by side, and the table as CSV with --csv."""
    from benchmarks.names import names_from_words
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
    for i, part in enumerate(comparison_tables(table)):
        if i:
            screen.say("")
        screen.show(part)
    screen.say(compare.MEANINGS, style="dim")
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(table)} rows)")
    return 0
