"""`leaderboard`: show one table of all finished runs, write it as CSV or as a page, and exchange records with others."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.names import names_from_words
from harness.config.flags import add_output, group_of
from models.registry import UserError

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = "result folders or run.json files (default: results)"
FROM = "records of others: a hub dataset (OWNER/NAME), a folder or a run.json; your results are then only those of RESULTS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `leaderboard` to its parser."""
    parser.description = "Show the leaderboard of all finished runs, as their records give it. Seeds are averaged."
    parser.add_argument("results", nargs="*", metavar="RESULTS", help=RESULTS)
    parser.add_argument("--published", action="store_true", help="add the papers' published rows (full edition)")
    records = parser.add_argument_group("records")
    records.add_argument("--from", dest="places", nargs="+", action="extend", default=[], metavar="PLACE", help=FROM)
    records.add_argument("--push", metavar="OWNER/NAME", help="upload the records of finished runs to a hub dataset")
    records.add_argument("--private", action="store_true", help="with --push: a new dataset is private")
    records.add_argument("--check", action="store_true", help="check every record, show the problems, and stop")
    add_output(parser, csv="write the table as CSV", quiet="do not print the table")
    group_of(parser, "output").add_argument("--html", metavar="FILE", help="write one page that needs no network")


def run(arguments: argparse.Namespace) -> int:
    """Print the leaderboard, and check, write or upload what the flags name. Raises UserError."""
    from harness.display.console import make_console
    from harness.display.leaderboard_table import print_leaderboard
    from harness.records.elsewhere import read_all
    from harness.records.files import check_table, write_table
    from harness.records.leaderboard import table_of

    results, console = list(names_from_words(arguments.results)), make_console()
    for path in results:
        if not Path(path).exists():
            raise UserError(f"There are no results at {path!r}.")
    results = results or ([] if arguments.places else ["results"])
    if arguments.check:
        return _check(results, arguments.places, console)
    if arguments.push:
        return _push(results, arguments, console)
    if arguments.private:
        raise UserError("--private makes a new hub dataset private: use it with --push OWNER/NAME.")
    check_table(arguments.html)
    runs = [run for run in read_all(results, arguments.places) if run.finished]
    table, by_row = table_of(runs, arguments.published)
    written = []
    if arguments.csv:
        write_table(table, arguments.csv)
        written.append(f"wrote {arguments.csv} ({len(table)} rows)")
    if arguments.html:
        from harness.report.leaderboard_page import write

        write(table, by_row, arguments.html, _command(results, arguments))
        written.append(f"wrote {arguments.html}")
    if not arguments.quiet:
        print_leaderboard(table, console)
        for line in written:
            console.print(line, soft_wrap=True)
    return 0


def _command(results: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return the command of the page, with the words that choose its rows."""
    places = ["--from", *arguments.places] if arguments.places else []
    return shlex.join(["leaderboard", *results, *places, *(["--published"] if arguments.published else [])])


def _check(results: Sequence[str], places: Sequence[str], console: Console) -> int:
    """Check every record, and print the problems. Raises UserError if there are any."""
    from harness.records.check_records import check

    count, problems = check(results, places)
    for problem in problems:
        console.print(problem, soft_wrap=True)
    records = f"{count} record{'s' * (count != 1)}"
    if problems:
        raise UserError(f"{len(problems)} problem{'s' * (len(problems) != 1)} in {records}.")
    if not count:
        raise UserError(f"There are no records in {', '.join([*results, *places])}.")
    console.print(f"{records}: all files follow the schema and agree with each other.", soft_wrap=True)
    return 0


def _push(results: Sequence[str], arguments: argparse.Namespace, console: Console) -> int:
    """Upload the finished runs. Raises UserError."""
    from harness.records.push import paths_in, push
    from harness.records.runs import read

    if arguments.places:
        raise UserError("--push uploads your runs, and --from reads those of others: leave one of them out.")
    runs = [run for run in read(results) if run.finished]
    if paths := paths_in(runs):
        console.print(f"note: run.json names paths of this machine, which readers will see: {', '.join(paths)}", soft_wrap=True)
    pushed = push(runs, arguments.push, arguments.private)
    before = f"; {pushed.present} were there before" if pushed.present else ""
    if not arguments.quiet:
        uploaded = f"uploaded the records of {pushed.uploaded} run{'s' * (pushed.uploaded != 1)}"
        console.print(f"{uploaded} to {pushed.address}{before}", soft_wrap=True)
    return 0
