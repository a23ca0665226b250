"""List the runs of a grid in order, with the command of each."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.names import join_names, names_from_words, split_names
from benchmarks.plan import StreamPlan
from harness.config.config_file import read_file
from harness.config.options import parse_assignments, seeds_in
from harness.config.resolve import check_names, order_label, outline, resolve, unchanged_data
from harness.config.run_config import RunConfig
from harness.sweep.option_values import combinations, comma_rule
from harness.sweep.recorded_runs import recorded_place
from models.registry import UserError

ENTRY = Path(__file__).resolve().parents[2] / "cli.py"
"""The command line of this installation, independent of the working directory."""

NAMED_ORDERS = ("I", "II")
NOT_PASSED_ON = ("benchmark", "strategy", "order", "seed", "fresh", "quiet")
"""Flags of `bench` that are not passed on unchanged: those of the grid, and those that concern the sweep."""


class Run(NamedTuple):
    """One run of the grid: its coordinates, the folder of its record, its log, and the arguments of `bench`.

    `varied` are the options in which it differs from other runs of the grid: ("l2=0.1",).
    """

    strategy: str
    order: str
    seed: int
    folder: Path
    log: Path
    arguments: tuple[str, ...]
    varied: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The strategy and the varied options: "zscl l2=0.1"."""
        return " ".join((self.strategy, *self.varied))

    def __str__(self) -> str:
        return f"{self.label}, order {self.order}, seed {self.seed}"


Command = Callable[[Run, bool, str | None], list[str]]
"""command(run, fresh, device) returns the command of a run. With device None, the arguments of the run choose the device."""


def command_of(run: Run, fresh: bool = False, device: str | None = None) -> list[str]:
    """Return the command that runs `bench` in this interpreter."""
    last = [*(["--fresh"] if fresh else []), *(["--device", device] if device else [])]
    return [sys.executable, str(ENTRY), "bench", *run.arguments, *last]


def flags_for(parser: argparse.ArgumentParser, arguments: argparse.Namespace, without: Sequence[str] = ()) -> list[str]:
    """Return the flags from which a parser makes these arguments, except for defaults and the arguments `without`."""
    flags: list[str] = []
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if action.dest in without or value is None or value == action.default:
            continue
        if action.nargs == 0:
            flags.append(action.option_strings[0])
        elif isinstance(value, list):
            flags += [action.option_strings[0], *map(str, value)]
        else:
            # One word for a value that begins with a dash.
            dashed = str(value).startswith("-")
            flags += [f"{action.option_strings[0]}={value}"] if dashed else [action.option_strings[0], str(value)]
    return flags


def parse_orders(words: Sequence[str]) -> list[str]:
    """Return the orders in the words of --orders. `I,II` is two orders, any other comma-joined word is one order of names.

    Raises UserError for a word that mixes both.
    """
    orders: list[str] = []
    for word in words:
        names = split_names(word)
        others = [name for name in names if name not in NAMED_ORDERS]
        if 0 < len(others) < len(names):
            near = difflib.get_close_matches(others[0], NAMED_ORDERS, n=1)
            hint = f"did you mean {near[0]}?" if near else "write an order of names as a separate word."
            raise UserError(f"--orders {word} mixes named orders (I, II) with the name {others[0]!r}; {hint}")
        orders += [join_names(names)] if others else names
    return orders


def axis(plural: str, values: Sequence[Any] | None, singular: str, value: Any) -> list[Any]:
    """Return the distinct values along an axis of the grid; [None] if neither flag is given.

    `values` are those of the flag `plural` of `sweep`, `value` is the value or the list of the flag `singular` of `bench`.
    Raises UserError if both flags are given.
    """
    if values is not None and value is not None:
        raise UserError(f"{plural} and {singular} set the same values: leave one out.")
    listed = values if values is not None else value if isinstance(value, list) else [value]
    if not listed:
        raise UserError(f"{plural} names nothing.")
    return list(dict.fromkeys(listed))


def parse_shard(text: str) -> tuple[int, int]:
    """Return "2/4" as (2, 4). Raises UserError unless 1 <= i <= n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard takes i/n with i from 1 to n, such as 1/4, got {text!r}.")
    return int(match[1]), int(match[2])


def take_shard(runs: Sequence[Run], shard: tuple[int, int]) -> list[Run]:
    """Return every n-th run of the grid from the i-th on. Shards 1/n to n/n cover each run once, also finished ones."""
    i, n = shard
    return list(runs[i - 1 :: n])


def grid(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    configs: Callable[[argparse.Namespace], list[RunConfig]],
    runs_code: bool = True,
) -> list[Run]:
    """Return all runs of a grid, seeds outermost, so that one seed of everything comes first. Values of options are innermost.

    An option with several values in `--set` is an axis of the grid (`harness.sweep.option_values`). Names, options and data of
    every run are checked before any run starts.

    Args:
        parser: the parser of `bench`.
        arguments: the flags of `bench`, and `strategies`, `orders` and `seeds`.
        configs: returns the runs that arguments of `bench` ask for.
        runs_code: False imports neither torch nor a user's code. Runs of such code are then found by their records, and their
            options are not checked.

    Raises:
        UserError: for a mistake in any run. The message names the run.
    """
    strategies = axis("--strategies", _names(arguments.strategies), "--strategy", arguments.strategy)
    order = arguments.order if not arguments.order or len(arguments.order) > 1 else arguments.order[0]
    order = join_names(names_from_words(order)) if isinstance(order, list) else order
    orders = axis("--orders", parse_orders(arguments.orders) if arguments.orders else None, "--order", order)
    seeds_of_bench = seeds_in(arguments.seed, "--seed") if arguments.seed else None
    seeds = axis("--seeds", seeds_in(arguments.seeds) if arguments.seeds else None, "--seed", seeds_of_bench)
    file = read_file(arguments.config) if arguments.config else {}
    flags = {name: _flags_and_options(parser, arguments, name, strategies, file) for name in strategies}
    benchmark = [] if arguments.benchmark is None and "benchmark" in file else [arguments.benchmark or "mtil"]
    requested: list[tuple[RunConfig, tuple[str, ...], tuple[str, ...]]] = []
    cells = (
        (seed, order, strategy, *each)
        for seed, order, strategy in itertools.product(seeds, orders, strategies)
        for each in flags[strategy]
    )
    for seed, order, strategy, flags_of_run, varied in cells:
        coordinates = (("--strategy", strategy), ("--order", order), ("--seed", seed))
        words = [str(word) for flag, value in coordinates if value is not None for word in (flag, value)]
        words = [*benchmark, *words, *flags_of_run]
        # A configuration file may name several seeds, and a case study has several strategies by default.
        asked = configs(parser.parse_args(words))
        several_strategies = len({config.strategy for config in asked}) > 1
        for config in asked:
            run_line = [*words, *(["--strategy", config.strategy] if several_strategies else [])]
            run_line = run_line if seed is not None else [*run_line, "--seed", str(config.seed)]
            requested.append((config, tuple(run_line), varied))
    runs: dict[Path, Run] = {}
    several = len(requested) > 1
    with unchanged_data():
        plans = []
        for config, *_ in requested:
            with _naming_run(config, several):
                plans.append(check_names(config))
                plans[-1].check()
        for (config, run_words, varied), plan in zip(requested, plans, strict=True):
            with _naming_run(config, several):
                folder, log = _folder_and_log(config, plan, runs_code)
            runs.setdefault(folder, Run(config.strategy, order_label(plan), config.seed, folder, log, run_words, varied))
    return list(runs.values())


def _folder_and_log(config: RunConfig, plan: StreamPlan, runs_code: bool) -> tuple[Path, Path]:
    """Return the folder and the log of a run."""
    resolved = resolve(config) if runs_code else outline(config)
    if resolved is None:
        return recorded_place(config, plan)
    folder = resolved.folder
    key = folder.name.rpartition("-")[2]
    name = f"{folder.parent.name}-{resolved.strategy_slug}-seed{config.seed}-{key}.log"
    return folder, Path(config.out) / "logs" / name


def _flags_and_options(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    strategy: str | None,
    strategies: Sequence[str | None],
    file: Mapping[str, Any],
) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return the flags of each run of one strategy without its coordinates, and the options in which they differ."""
    words = _options_of(arguments, strategy, strategies)
    name = strategy or file.get("strategy") or RunConfig.strategy
    rule = comma_rule(name, arguments.tuning or file.get("tuning"), names_from_words(arguments.plugins or ()))
    result = []
    for choice in combinations(words, rule):
        own = argparse.Namespace(**{**vars(arguments), "options": list(choice.words) or None})
        result.append((flags_for(parser, own, NOT_PASSED_ON), choice.varied))
    return result


def _options_of(arguments: argparse.Namespace, strategy: str | None, strategies: Sequence[str | None]) -> list[str]:
    """Return the words of --set for one strategy: `wise-ft.alpha=0.3` becomes `alpha=0.3` for wise-ft only.

    Such a word takes precedence over a word for all strategies. A plugin with the name of a strategy (Avalanche's lwf) keeps
    its options if it is used.
    """
    prefixes = {f"{name}.": name for name in strategies if name is not None and name not in (arguments.plugins or ())}
    general, own = [], []
    for word in arguments.options or ():
        prefix = next((prefix for prefix in prefixes if word.startswith(prefix)), "")
        if not prefix:
            general.append(word)
        elif prefixes[prefix] == strategy:
            own.append(word.removeprefix(prefix))
    replaced = parse_assignments(own).keys()
    return [*(word for word in general if not parse_assignments([word]).keys() & replaced), *own]


def _names(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(names_from_words(words))


@contextmanager
def _naming_run(config: RunConfig, several: bool) -> Iterator[None]:
    """Name the run in the message of a UserError if the grid has several runs."""
    try:
        yield
    except UserError as error:
        if not several:
            raise
        raise UserError(f"{config.strategy}, seed {config.seed}: {error}") from error
