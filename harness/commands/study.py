"""`study`: fine-tune each domain with each tuning, to find what predicts gain and forgetting."""

from __future__ import annotations

import argparse

from harness.config.flags import add_flags, add_output, read_flags
from harness.study.study_config import StudyConfig, check_config
from models.registry import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `study` to its parser."""
    parser.description = (
        "Fine-tune each domain with each tuning from the initial model: gain, forgetting, and the measures that predict them. "
        "The same command again continues an interrupted study."
    )
    add_flags(parser, StudyConfig)
    parser.add_argument(
        "--power",
        action="store_true",
        help="train nothing: show how often studies of 9, 11, 24 and 30 domains show a line; --domains N ... adds numbers",
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the study, or show the power of studies. Raises UserError."""
    if arguments.power:
        show_power(StudyConfig(**read_flags(arguments, StudyConfig)), arguments.quiet)
        return 0
    from benchmarks.catalog import shadows, suite_notes
    from harness.display.screen import Screen
    from harness.run.signals import handled, importing, stop

    config = StudyConfig(**read_flags(arguments, StudyConfig))
    sources = check_config(config)
    screen = Screen(quiet=arguments.quiet)
    given = config.domains or ()
    for note in [*suite_notes(given, config.data_root), *shadows([*sources.values()] if given else [])]:
        screen.say(note, style="yellow")
    screen.say("loading torch and Avalanche ...", style="dim")
    with importing():
        from harness.run.failures import reporting_failures
        from harness.study.run_study import run as run_study

    with reporting_failures(fresh=arguments.fresh, part="cell"), handled(stop):
        run_study(config, screen)
    return 0


def show_power(config: StudyConfig, quiet: bool = False) -> None:
    """Print the power of studies of the usual sizes, and of the user's.

    `config.domains` are numbers of domains, or names, which are counted. The tests after Holm's correction are one per measure.

    Raises:
        UserError: fewer than four domains.
    """
    from benchmarks.catalog import suite_names
    from harness.display.console import make_console
    from harness.display.power_table import power_note, power_table
    from harness.study.measure_config import measure_names
    from metrics import power

    tests = len(measure_names(config.measures))
    domains = suite_names(config.domains or (), config.data_root)
    numbers = [int(name) for name in domains if name.isdecimal()] if all(map(str.isdecimal, domains)) else [len(domains)]
    if small := [n for n in numbers if n < power.FEWEST]:
        raise UserError(f"The power of a study needs at least {power.FEWEST} domains, got {small[0]}.")
    powers = power.power_table(tuple(sorted({*power.TASKS, *numbers})), tests)
    if not quiet:
        console = make_console()
        console.print(power_table(powers, tests))
        console.print(power_note(tests), style="dim", soft_wrap=True)
