"""`rescore`: score the saved predictions of finished runs under a protocol, without a model."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.config.flags import add_output
from models.registry import UserError

MEANINGS = (
    "Means over rows 1 to T: seen average (learned tasks), unseen average (tasks not learned yet), harmonic mean of both, ECE "
    "(expected calibration error, 15 bins), AUROC (confidence among learned classes tells learned from unlearned classes)"
)
KEYS = ("run", "protocol")
TITLES = {
    "transfer": "Transfer",
    "average": "Average",
    "last": "Last",
    "forgetting": "Forgetting",
    "bwt": "BWT",
    "seen_average": "seen",
    "unseen_average": "unseen",
    "harmonic_average": "harmonic",
    "ece_average": "ECE",
    "auroc_average": "AUROC",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `rescore` to its parser."""
    parser.description = "Score the predictions that `bench --save-predictions` saved, under the run's protocol or another one."
    parser.add_argument("results", nargs="*", metavar="RESULTS", help="result folders or run folders (default: results)")
    parser.add_argument(
        "--protocol", metavar="NAME", help="task, class or agnostic, with at most the classes of the run (default: the run's)"
    )
    add_output(parser, csv="write the numbers after each task as CSV")


def run(arguments: argparse.Namespace) -> int:
    """Show the numbers of each run with saved predictions, and write those after each task with --csv. Raises UserError."""
    from harness.display.plain_table import plain_table
    from harness.display.screen import Screen
    from harness.records.files import check_table, write_table
    from harness.records.predictions import FOLDER, rescore
    from harness.records.runs import present, read
    from metrics.prediction_scores import PROTOCOLS
    from models.registry import unknown

    check_table(arguments.csv)
    if arguments.protocol is not None and arguments.protocol not in PROTOCOLS:
        raise unknown("protocol", arguments.protocol, PROTOCOLS)
    roots = list(present(list(names_from_words(arguments.results)) or ["results"]))
    runs = [each for each in read(roots) if each.finished and (each.folder / FOLDER).is_dir()]
    if not runs:
        raise UserError("No finished run there has saved predictions. Make them with bench ... --save-predictions.")
    scored = [rescore(each, arguments.protocol) for each in runs]
    table = plain_table()
    for name in ("strategy", "seed", "benchmark", "protocol", *TITLES.values()):
        table.add_column(name, justify="left" if name in ("strategy", "benchmark", "protocol") else "right")
    for each in scored:
        identity = each.run.identity
        words = (str(identity["strategy"]), str(identity["seed"]), str(identity["benchmark"]), each.protocol)
        table.add_row(*words, *(_number(each.numbers[name]) for name in TITLES))
    screen = Screen(quiet=arguments.quiet)
    screen.show(table)
    screen.say(MEANINGS, style="dim")
    if arguments.csv:
        import pandas as pd

        frames = [each.rows.assign(run=str(each.run.folder), protocol=each.protocol) for each in scored]
        whole = pd.concat(frames)[["run", "protocol", *dict.fromkeys(name for f in frames for name in f if name not in KEYS)]]
        write_table(whole, arguments.csv)
        screen.say(f"wrote {arguments.csv} ({len(whole)} rows)")
    return 0


def _number(value: float) -> str:
    return "-" if value != value else f"{value:z.1f}"
