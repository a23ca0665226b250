"""`study`: fine-tune each domain with each tuning, to find what predicts gain and forgetting."""

from __future__ import annotations

import argparse

from harness.config.flags import add_flags, add_output, read_flags
from harness.study.study_config import StudyConfig, check_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `study` to its parser."""
    parser.description = (
        "Fine-tune each domain with each tuning from the initial model: gain, forgetting, and the measures that predict them. "
        "The same command again continues an interrupted study."
    )
    add_flags(parser, StudyConfig)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the study. Raises UserError."""
    from benchmarks.catalog import shadows
    from harness.display.screen import Screen
    from harness.run.signals import handled, importing, stop

    config = StudyConfig(**read_flags(arguments, StudyConfig))
    sources = check_config(config)
    screen = Screen(quiet=arguments.quiet)
    for note in shadows([*sources.values()] if config.domains is not None else []):
        screen.say(note, style="yellow")
    screen.say("loading torch and Avalanche ...", style="dim")
    with importing():
        from harness.run.failures import reporting_failures
        from harness.study.run_study import run as run_study

    with reporting_failures(fresh=arguments.fresh, part="cell"), handled(stop):
        run_study(config, screen)
    return 0
