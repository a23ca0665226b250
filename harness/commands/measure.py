"""`measure`: measure datasets with one forward pass, before any training."""

from __future__ import annotations

import argparse

from harness.config.flags import add_flags, add_output, read_flags
from harness.study.measure_config import MeasureConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `measure` to its parser."""
    parser.description = (
        "Compute IIMM, other measures and the zero-shot accuracy of a sample of the training split. No training."
    )
    add_flags(parser, MeasureConfig)
    add_output(parser, csv="write the table as CSV, one row per measure and dataset")


def run(arguments: argparse.Namespace) -> int:
    """Measure the datasets and show the table. Raises UserError."""
    from benchmarks.catalog import check_present, find_all
    from harness.config.settings import check_values
    from harness.display.screen import Screen
    from harness.records.files import check_table
    from harness.run.signals import handled, importing, stop
    from metrics.suite import select_measures

    config = MeasureConfig(**read_flags(arguments, MeasureConfig))
    check_values(config)
    check_table(arguments.csv)
    select_measures(config.measures or ())
    check_present(find_all(config.datasets, config.edition, config.data_root)[1])
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch ...", style="dim")
    with importing():
        from harness.display.measure_table import print_measures
        from harness.records.files import write_table
        from harness.run.failures import reporting_failures
        from harness.study.measure import measure

    with reporting_failures(part=None), handled(stop):
        table = measure(config, screen)
    if arguments.csv:
        write_table(table, arguments.csv)
    print_measures(table, screen)
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(table)} rows)")
    return 0
