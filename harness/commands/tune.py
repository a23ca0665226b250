"""`tune`: choose options of a strategy on validation images. Imports neither torch, Avalanche nor Optuna."""

from __future__ import annotations

import argparse
import shlex
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.commands import bench
from harness.commands.sweep import PLACE, Machines, check_machines, local_or_ray
from harness.config.flags import add_flags, read_flags
from harness.config.run_config import RunConfig
from harness.config.settings import check_values
from models.registry import UserError
from models.setting import setting

if TYPE_CHECKING:
    from harness.config.resolve import Resolved
    from harness.display.screen import Screen
    from harness.sweep.grid import Run
    from harness.sweep.scheduler import Backend
    from harness.tune.score import Metric
    from harness.tune.space import Dimension

TRIALS = 20
OUT = "tuned"
SEARCH, OUTPUT = "search", "output"
ABOUT = """\
Choose options of a strategy. Each trial is a run of `bench --split val` in a separate process, so no test image is read: only
validation images are scored, which are held out of the training data. Optuna chooses the values (its TPE sampler). If every
option has a list of values, the trials are the full grid. All flags of `bench` are valid and hold for every trial; with several
seeds, a trial's score is the mean. The same command again continues an interrupted search, and with more --trials it adds some.
"""
EXAMPLES = """\
examples:
  python cli.py tune mtil --strategy zscl --space l2=log:0.01:10 lr=1e-4,3e-4 iterations=int:20:80 --trials 20
  python cli.py tune mtil --strategy rail --space ridge=0.01,0.1,1,10                   a grid of four trials
  python cli.py tune cil --strategy lwf --space image_loss+text_loss=log:0.3:10         both options get the same value
  python cli.py tune mtil --strategy zscl --space l2=log:0.01:10 --prune-after 3 --seed 0 1 --jobs 2
  python cli.py tune mtil --strategy zscl --space l2=log:0.01:10 --backend ray --ray-address HOST:6379 --gpus-per-run 0.5

Values: log:LOW:HIGH and float:LOW:HIGH are ranges, int:LOW:HIGH a range of whole numbers, A,B,C a list. Options of the tuning
and of plugins are searched too (tuning.rank=4,8). In an option that takes a text or a list, the comma is part of the value:
give the option once per value.

OUT/<benchmark>-<edition>-<order>/<strategy>-<key>/ gets settings.toml (bench --config FILE runs the best options on test
images), trials.csv, trials.svg, trials.png, study.journal (Optuna's) and the records of the runs.
"""


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Machines):
    """The settings of a search, in addition to those of its runs."""

    space: tuple[str, ...] | None = setting(
        None, "options and their values: l2=log:0.01:10 lr=1e-5,1e-4 iterations=int:20:80", group=SEARCH, metavar="NAME=VALUES",
        items="words",
    )  # fmt: skip
    trials: int | None = setting(
        None, f"number of trials (default: the whole grid, or {TRIALS} with a range)", group=SEARCH, metavar="N", least=1
    )
    metric: str | None = setting(
        None,
        "score: average, last, transfer, diagonal (each task right after it is trained), forgetting, bwt, retention, "
        "cil_average or cil_last (default: average; cil_average with protocol class)",
        group=SEARCH,
        metavar="NAME",
    )
    prune_after: int | None = setting(
        None, "stop trials that are below the median of the others after N tasks or more (default: never)", group=SEARCH,
        metavar="N", least=1,
    )  # fmt: skip
    search_seed: int = setting(0, "seed of the sampler (default: 0)", group=SEARCH, metavar="N", least=0, most=2**32)
    retries: int = setting(1, "start a failed or lost run again up to N times (default: 1)", group=SEARCH, metavar="N", least=0)
    backend: str = setting("local", "local (default) or ray", group=PLACE, choices=lambda: ("local", "ray"))


class Plan(NamedTuple):
    """A checked search: a run without the searched options, the dimensions, the metric, the number of trials, the folder."""

    base: RunConfig
    resolved: Resolved
    space: list[Dimension]
    metric: Metric
    trials: int
    folder: Path
    seeds: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `tune` to its parser. Those of `bench` are valid too, and not repeated in its help."""
    parser.description, parser.epilog, parser.formatter_class = ABOUT, EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.usage = "perennial tune [BENCHMARK] --strategy NAME --space NAME=VALUES ... [--trials N] [flags of bench]"
    add_flags(parser, TuneConfig)
    bench.add_run_flags(parser, hidden=True)


def run(arguments: argparse.Namespace) -> int:
    """Search. Return 0 if any trial has finished, otherwise 1, and 130 after an interrupt. Raises UserError."""
    config = checked(arguments)
    from harness.config.resolve import unchanged_data
    from harness.config.trust import check_code
    from harness.display.screen import Screen
    from harness.run.locks import locked
    from harness.run.signals import importing
    from harness.tune.trial_study import import_optuna

    screen = Screen(quiet=arguments.quiet)
    check_code(arguments)
    screen.say("reading the search ...", style="dim")
    import_optuna()
    with importing():
        from harness.config import resolve as _  # noqa: F401
    with unchanged_data():
        plan = make_plan(arguments, config)
        with locked(plan.folder):
            return search(plan, arguments, config, screen)


def checked(arguments: argparse.Namespace) -> TuneConfig:
    """Return the settings of the search, checked as far as that takes no reading of files. Raises UserError."""
    from harness.run.process_group import processes

    if processes() > 1:
        raise UserError("tune starts its own processes: leave torchrun out.")
    config = TuneConfig(**read_flags(arguments, TuneConfig))
    check_values(config)
    check_machines(config, config.backend, arguments)
    if config.space is None:
        raise UserError("tune needs the options to search: add --space, for example --space l2=log:0.01:10.")
    if arguments.split == "test":
        raise UserError("tune scores validation images only: leave --split test out.")
    if arguments.fresh:
        raise UserError("tune has no --fresh: to start a search over, remove its folder or give another --out.")
    return config


def make_plan(arguments: argparse.Namespace, config: TuneConfig) -> Plan:
    """Check the search: names, the range of every option, and the metric. Raises UserError."""
    from harness.config.options import parse_assignments
    from harness.config.resolve import resolve, stream_folder
    from harness.records.run_json import digest_of
    from harness.tune.score import metric_of
    from harness.tune.space import grid_of, parse_space

    out = Path(arguments.out or OUT)
    runs = runs_of(arguments, [], out)
    if len({run.strategy for run in runs}) > 1:
        raise UserError("tune searches the options of one strategy: add --strategy NAME.")
    if len({run.order for run in runs}) > 1:
        raise UserError("tune searches on one order: give a single --order.")
    if varied := next((run.varied for run in runs if run.varied), ()):
        raise UserError(f"--set gives several values of {varied[0].partition('=')[0]}: search it with --space.")
    base = bench.configs(bench.run_parser().parse_args(runs[0].arguments))[0]
    resolved = resolve(base)
    fixed = parse_assignments(arguments.options or ())
    space = parse_space(config.space or (), option_types(resolved), tuple(fixed))
    for dimension in space:
        for value in dimension.ends():
            runs_of(arguments, dimension.words(value), out)
    metric = metric_of(config.metric, resolved.plan)
    if config.prune_after is not None and metric.so_far is None:
        raise UserError(f"--prune-after needs a metric of the tasks so far; {metric.name} is known only after the last one.")
    if config.prune_after is not None and config.prune_after >= len(resolved.tasks) > 1:
        raise UserError(f"--prune-after {config.prune_after} stops nothing: there are {len(resolved.tasks)} tasks.")
    grid = grid_of(space)
    trials = config.trials or (TRIALS if grid is None else len(grid))
    searched = {
        "identity": {name: value for name, value in resolved.identity().items() if name != "seed"},
        "seeds": [run.seed for run in runs],
        "space": [list(dimension) for dimension in space],
        "metric": metric.name,
        "search_seed": config.search_seed,
        "grid": grid is not None and trials >= len(grid),
    }
    folder = out / stream_folder(resolved.plan) / f"{resolved.strategy_slug}-{digest_of(searched, 10)}"
    return Plan(base, resolved, space, metric, trials, folder, len(runs))


def runs_of(arguments: argparse.Namespace, words: list[str], out: Path) -> list[Run]:
    """Return the validation runs of one trial, one per seed. `words` are its words of `--set`. Raises UserError."""
    from harness.sweep.grid import grid

    changes: dict[str, Any] = {
        "options": [*(arguments.options or ()), *words],
        "split": "val",
        "out": str(out),
        **dict.fromkeys(("strategies", "orders", "seeds")),
    }
    runs = grid(bench.run_parser(), argparse.Namespace(**{**vars(arguments), **changes}), bench.configs)
    return [run._replace(varied=tuple(words)) if words else run for run in runs]


def option_types(resolved: Resolved) -> Mapping[str, Any]:
    """Return the type of every option of a run: those of the strategy, of the tuning and of the plugins."""
    from harness.config.user_plugins import UserPlugin

    types = dict(typing.get_type_hints(type(resolved.options)))
    owners = {"tuning": resolved.tuning_options, **resolved.plugins}
    for prefix, options in owners.items():
        if isinstance(options, UserPlugin):
            types |= {f"{prefix}.{name}": None for name in options.options}
        else:
            types |= {f"{prefix}.{name}": hint for name, hint in typing.get_type_hints(type(options)).items()}
    return types


def search(plan: Plan, arguments: argparse.Namespace, config: TuneConfig, screen: Screen) -> int:
    """Run the missing trials and write the results. Return the exit status."""
    from harness.display.console import complain
    from harness.sweep.scheduler import Interrupted, run_missing
    from harness.tune.search import Search
    from harness.tune.space import grid_of
    from harness.tune.trial_study import TrialStudy
    from harness.tune.tune_screen import TuneScreen

    grid = grid_of(plan.space)
    study = TrialStudy(
        plan.folder,
        plan.space,
        plan.metric.maximise,
        config.search_seed,
        grid if grid is not None and plan.trials >= len(grid) else None,
    )

    def make_runs(values: Mapping[str, str]) -> list[Run]:
        words = [word for dimension in plan.space for word in dimension.words(values[dimension.name])]
        return runs_of(arguments, words, plan.folder / "runs")

    trials = plan.trials if study.grid is None else len(study.grid)
    searcher = Search(study, make_runs, plan.metric, trials, plan.resolved.tasks, config.prune_after)
    backend = make_backend(config)
    tune_screen = TuneScreen(screen, searcher, backend.slots or 1)
    screen.say(f"{plan.resolved.strategy_slug}: {', '.join(map(describe, plan.space))}", style="dim")
    try:
        run_missing([], backend, tune_screen, retries=config.retries, source=searcher)
    except Interrupted:
        complain("interrupted; the same command continues.")
        return 130
    finally:
        backend.close()
        write_results(plan, arguments, study.entries())
    tune_screen.summary(f", {plan.seeds} seeds" if plan.seeds > 1 else "")
    return show_results(plan, searcher, screen)


def make_backend(config: TuneConfig) -> Backend:
    """Return the backend, with a number of slots. Raises UserError if it is not available."""
    backend = local_or_ray(config, config.backend)
    if backend.slots is None:
        backend.slots = getattr(backend, "capacity", 1)
    return backend


def describe(dimension: Dimension) -> str:
    """Return a dimension as words: "l2 from 0.01 to 10.0 (log)", "lr of 1e-5, 1e-4"."""
    if dimension.values:
        return f"{dimension.name} of {', '.join(dimension.values)}"
    low, high = dimension.ends()
    return f"{dimension.name} from {low} to {high}{' (log)' if dimension.log else ''}"


def write_results(plan: Plan, arguments: argparse.Namespace, entries: list[Any]) -> None:
    """Write the settings, the table and the figure, if any trial has finished."""
    import dataclasses

    from harness.report.figure import save
    from harness.tune.results import SETTINGS, trials_figure, write_settings
    from harness.tune.trial_study import best_of

    best = best_of(entries, plan.metric.sign)
    figure = trials_figure(entries, plan.space, plan.metric, f"Search for {plan.resolved.strategy_slug}")
    if best is None or figure is None:
        return
    save(figure, plan.folder)
    values = {option: best.values[dimension.name] for dimension in plan.space for option in dimension.options}
    config = dataclasses.replace(plan.base, options={**plan.base.options, **values})
    lines = [
        f"Chosen by `tune`: {plan.metric.name} {best.score:.2f} on validation images, trial {best.number} of {len(entries)}"
        + (f", mean of {plan.seeds} seeds." if plan.seeds > 1 else "."),
        "The options that were searched: " + ", ".join(map(describe, plan.space)),
    ]
    write_settings(plan.folder / SETTINGS, config, lines)


def show_results(plan: Plan, searcher: Any, screen: Screen) -> int:
    """Show where the results are and what to run next. Return the exit status."""
    from harness.display.console import complain
    from harness.tune.results import SETTINGS, SLUG
    from harness.tune.trial_study import FAILED

    if searcher.best is None:
        note = next((entry.note for entry in searcher.ended if entry.state == FAILED), "")
        complain(f"no trial has finished{f': {note}' if note else ''}. The logs are in {plan.folder / 'runs' / 'logs'}.")
        return 1
    screen.say(f"table and figure: {plan.folder / SLUG}.csv, .svg, .png", style="dim")
    command = ["bench", plan.base.benchmark, "--config", str(plan.folder / SETTINGS)]
    screen.say(f"next: python cli.py {shlex.join(command)}")
    return 0
