"""`predict`: predict what fine-tuning on a dataset will gain and cost, from a study of other datasets."""

from __future__ import annotations

import argparse

from harness.config.flags import add_flags, add_output, read_flags
from harness.study.predict_config import PredictConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `predict` to its parser."""
    parser.description = (
        "Predict what fine-tuning on a dataset will gain and cost, from a study of other datasets. One forward pass, no "
        "training."
    )
    add_flags(parser, PredictConfig)
    add_output(parser, csv="write the predictions as CSV, one row per tuning and outcome")


def run(arguments: argparse.Namespace) -> int:
    """Show the prediction, and write it with --csv. Raises UserError."""
    from benchmarks.catalog import check_present, find
    from harness.config.settings import check_values
    from harness.display.screen import Screen
    from harness.records.files import check_table
    from harness.run.signals import handled, importing, stop
    from metrics import study_table

    config = PredictConfig(**read_flags(arguments, PredictConfig))
    check_values(config)
    check_table(arguments.csv)
    check_present([find(config.dataset, config.edition, config.data_root)])
    # Report a damaged study before torch is imported.
    study_table.read(study_table.table_path(config.study))
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch ...", style="dim")
    with importing():
        from harness.records.files import write_table
        from harness.run.failures import reporting_failures
        from harness.study.predict import predict

    with reporting_failures(part=None), handled(stop):
        prediction = predict(config, screen)
    if arguments.csv:
        write_table(prediction.table, arguments.csv)
        screen.say(f"wrote {arguments.csv} ({len(prediction.table)} rows)")
    return 0
