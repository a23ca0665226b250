"""`claims`: the claims of the four papers' abstracts, and the verdicts of your records."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.config.flags import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `claims` to its parser."""
    parser.description = (
        "Show each claim of the four papers' abstracts with the command that tests it and the verdict: by your finished runs, "
        "or, where they are missing, as recorded by the project on the mini edition."
    )
    parser.add_argument("results", nargs="*", metavar="RESULTS", help="result folders or run.json files (default: results)")
    parser.add_argument(
        "--study", metavar="PATH", help="a study's folder or table.csv, for the claims on IIMM (default: the included study)"
    )
    parser.add_argument("--only-results", action="store_true", help="leave out recorded verdicts")
    add_output(parser, csv="write the table as CSV, with the rule of each verdict")


def run(arguments: argparse.Namespace) -> int:
    """Show the verdicts, and write them with --csv. Raises UserError."""
    from pathlib import Path

    from harness.claims.judge import judge, table_of
    from harness.display.claims_table import claims_text
    from harness.display.screen import Screen
    from harness.records.files import check_table, write_table

    check_table(arguments.csv)
    results = list(names_from_words(arguments.results)) or (["results"] if Path("results").exists() else [])
    screen = Screen(quiet=arguments.quiet)
    rows = judge(results, arguments.study, recorded=not arguments.only_results)
    if arguments.csv:
        write_table(table_of(rows), arguments.csv)
    screen.show(claims_text(rows))
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(rows)} rows)")
    return 0
