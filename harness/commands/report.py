"""`report`: write one page about finished runs, and its figures."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.commands.leaderboard import RESULTS
from harness.config.flags import add_output
from models.registry import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `report` to its parser."""
    parser.description = "Write one self-contained page about finished runs, with leaderboard, matrices and curves."
    parser.add_argument("results", nargs="*", metavar="RESULTS", help=RESULTS)
    parser.add_argument("--html", metavar="FILE", default="report.html", help="the page (default: report.html)")
    parser.add_argument("--figures", metavar="FOLDER", help="write every figure as SVG and PNG too, with its data as CSV")
    parser.add_argument("--leaderboard", metavar="FILE", help="write the page of the leaderboard too, and link to it")
    parser.add_argument(
        "--study",
        nargs="+",
        metavar="STUDY",
        help="folders of studies, which are drawn together; runs are then only those of RESULTS",
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and its figures with --figures. Raises UserError."""
    from harness.display.console import make_console
    from harness.records.files import check_table
    from harness.records.find_runs import find
    from harness.records.runs import present
    from harness.report import write

    results = list(names_from_words(arguments.results)) or ([] if arguments.study else ["results"])
    check_table(arguments.html)
    check_table(arguments.leaderboard)
    if results and not find(present(results), say=lambda sentence: None):
        raise UserError(f"There is no run in {', '.join(results)}: nothing to report.")
    page = write(results, arguments.html, arguments.figures, arguments.study or (), arguments.leaderboard)
    if not arguments.quiet:
        figures = f" and figures in {arguments.figures}" if arguments.figures else ""
        board = f" and {arguments.leaderboard}" if arguments.leaderboard else ""
        make_console().print(f"wrote {page}{board}{figures}", soft_wrap=True)
    return 0
