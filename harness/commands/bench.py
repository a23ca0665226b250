"""`bench`: run a benchmark with a strategy. Imports neither torch nor Avalanche until the runs start."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.commands import EXAMPLES
from harness.commands.parser import Parser
from harness.config.config_file import read_file
from harness.config.flags import add_flags, add_output, group_of, read_flags
from harness.config.options import merge_options
from harness.config.run_config import RunConfig
from models.registry import UserError

if TYPE_CHECKING:
    from harness.display.screen import Screen

SUMMARISED = ("paint", "transfer-study", "generalisation")
"""Case studies with a summary over all runs of the command (`harness.display.case_summary`)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bench` to its parser."""
    parser.description = "Run a benchmark. The same command again continues an interrupted run and skips a finished one."
    parser.usage = "perennial bench [BENCHMARK] [--strategy NAME] [flags]"
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    add_run_flags(parser)
    output = group_of(parser, "output")
    output.add_argument("--plan", action="store_true", help="say what the run will cost, after a short measurement, and stop")
    output.add_argument("--json", metavar="FILE", help="with --plan: write the plan as JSON")


def add_run_flags(parser: argparse.ArgumentParser, hidden: bool = False) -> None:
    """Add the flags of a run to the parser of `bench`, or hidden from `--help` to that of `sweep`."""
    add_flags(parser, RunConfig, hidden=hidden)
    config = "a TOML file, or the run.json of a run; flags take precedence over the file"
    trust = "run the strategy and plugin files that only --config names"
    output = parser if hidden else group_of(parser, "output")
    output.add_argument("--config", metavar="FILE", help=argparse.SUPPRESS if hidden else config)
    output.add_argument("--trust-code", action="store_true", help=argparse.SUPPRESS if hidden else trust)
    add_output(parser)


def run_parser() -> Parser:
    """Return a parser of the flags of `bench`, for the words of one run."""
    parser = Parser(add_help=False)
    add_run_flags(parser)
    return parser


def configs(arguments: argparse.Namespace) -> list[RunConfig]:
    """Return the runs that the flags and the file of --config ask for, one per strategy and seed. Raises UserError."""
    settings: dict[str, Any] = read_file(arguments.config) if arguments.config else {}
    flags = read_flags(arguments, RunConfig, settings.get("data_root"))
    options = merge_options(settings.get("options", {}), flags.get("options", {}))
    if "model" in flags:
        # The weights in the file belong to the model in the file.
        settings.pop("pretrained", None)
    settings = {**settings, **flags, "options": options}
    if "benchmark" not in settings:
        raise UserError("Which benchmark? Write it first, before the flags. For example: bench mtil --strategy zscl.")
    seeds = settings.pop("seed", 0)
    strategies = [settings.pop("strategy")] if "strategy" in settings else default_strategies(settings["benchmark"])
    return [
        RunConfig(**settings, strategy=strategy, seed=seed)
        for strategy in strategies
        for seed in dict.fromkeys([seeds] if isinstance(seeds, int) else seeds)
    ]


def default_strategies(benchmark: str) -> Sequence[str]:
    """Return the strategies of a benchmark that is run without `--strategy`."""
    from benchmarks.registry import DEFAULT_STRATEGIES

    return DEFAULT_STRATEGIES.get(benchmark, (RunConfig.strategy,))


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark, once per strategy and seed. Raises UserError."""
    from harness.config.resolve import unchanged_data
    from harness.config.trust import check_code

    check_code(arguments)
    if arguments.json and not arguments.plan:
        raise UserError("--json writes a plan: add --plan. The record of a run is run.json in its folder.")
    runs = configs(arguments)
    with unchanged_data():
        _run_all(runs, arguments)
    return 0


def _run_all(runs: list[RunConfig], arguments: argparse.Namespace) -> None:
    from harness.config.resolve import check_names, outline
    from harness.display.screen import Screen
    from harness.run import process_group
    from harness.run.signals import handled, importing, stop
    from models.loading.architectures import check_model

    screen = Screen(quiet=arguments.quiet)
    notes: dict[str, None] = {}
    # Find as many mistakes as possible before torch is imported, which takes seconds.
    for config in runs:
        plan = check_names(config)
        if not arguments.plan:
            plan.check()
        check_model(config.model)
        outline(config)
        notes |= dict.fromkeys(plan.notes)
    for note in notes:
        screen.say(note, style="yellow")
    screen.say("loading torch and Avalanche ...", style="dim")
    if arguments.plan:
        _plan_all(runs, arguments.json, screen)
        return
    with importing():
        from harness.config.user_file import no_silent_end
        from harness.run.failures import reporting_failures
        from harness.run.loop import run as run_one

    # Signals are handled here already, because loading a model and preparing data take long too.
    with reporting_failures(fresh=arguments.fresh), handled(stop), no_silent_end():
        folders = [run_one(config, screen).folder for config in runs]
        if runs[0].benchmark in SUMMARISED and process_group.leads():
            # It imports scipy.stats, which takes a second.
            from harness.display.case_summary import show_case

            show_case(runs[0].benchmark, folders, screen)


def _plan_all(runs: list[RunConfig], path: str | None, screen: Screen) -> None:
    """Show what the runs will cost, and write it as JSON: one object, or for several runs a list."""
    from models.files import check_output, reason, write_output

    if path:
        try:
            check_output(path)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {reason(error)}.") from error
    documents = []
    for document in plans(runs, screen):
        from harness.display.plan_table import show_plan

        documents.append(document)
        show_plan(document, screen)
    if path:
        write_output(path, json.dumps(documents[0] if len(documents) == 1 else documents, indent=2).encode())
        screen.say(f"wrote {path}")


def plans(runs: Iterable[RunConfig], screen: Screen) -> Iterator[dict[str, Any]]:
    """Yield what each run will cost, as JSON (`harness.plan.plan.Plan`). Nothing is trained."""
    from harness.run.signals import handled, importing, stop

    with importing():
        from harness.config.user_file import no_silent_end
        from harness.plan.plan import make_plan
        from harness.run.failures import reporting_failures

    for config in runs:
        with reporting_failures(part=None), handled(stop), no_silent_end():
            plan = make_plan(config, screen)
            screen.end()
        yield plan.document()
