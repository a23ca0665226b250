"""The grid of runs before anything is started: which there are, in which order, and the command of each."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.names import join_names, names_from_words, split_names
from benchmarks.plan import StreamPlan
from harness.config.config_file import read_file
from harness.config.options import seeds_in
from harness.config.resolve import check_names, order_label, outline, resolve, unchanged_data
from harness.config.run_config import RunConfig
from harness.sweep.recorded_runs import place
from models.registry import UserError

ENTRY = Path(__file__).resolve().parents[2] / "cli.py"
"""The command line of the same installation, whatever the working directory is."""

NAMED_ORDERS = ("I", "II")
APART = ("benchmark", "strategy", "order", "seed", "fresh", "quiet")
"""Flags of `bench` that are not passed on as they are: the grid's, and those that are the sweep's own affair."""


class Run(NamedTuple):
    """One run of the grid: what is varied, its record's folder, its log, and the arguments of `bench`."""

    strategy: str
    order: str
    seed: int
    folder: Path
    log: Path
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.strategy}, order {self.order}, seed {self.seed}"


Command = Callable[[Run, bool, str | None], list[str]]
"""command(run, fresh, device): what is executed for a run; None: the device of the run's own arguments."""


def command_of(run: Run, fresh: bool = False, device: str | None = None) -> list[str]:
    """`bench` in this interpreter."""
    last = [*(["--fresh"] if fresh else []), *(["--device", device] if device else [])]
    return [sys.executable, str(ENTRY), "bench", *run.arguments, *last]


def again(parser: argparse.ArgumentParser, arguments: argparse.Namespace, apart: Sequence[str] = ()) -> list[str]:
    """The flags that a parser makes these arguments of, less those `apart` and the defaults."""
    found: list[str] = []
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if action.dest in apart or value is None or value == action.default:
            continue
        if action.nargs == 0:
            found.append(action.option_strings[0])
        elif isinstance(value, list):
            found += [action.option_strings[0], *map(str, value)]
        else:
            # In one word: a value may begin with a dash.
            dashed = str(value).startswith("-")
            found += [f"{action.option_strings[0]}={value}"] if dashed else [action.option_strings[0], str(value)]
    return found


def orders_in(given: Sequence[str]) -> list[str]:
    """`I,II` is two orders; any other comma-joined word is one order of those names. Raises UserError."""
    found: list[str] = []
    for word in given:
        names = split_names(word)
        others = [name for name in names if name not in NAMED_ORDERS]
        if 0 < len(others) < len(names):
            near = difflib.get_close_matches(others[0], NAMED_ORDERS, n=1)
            hint = f"did you mean {near[0]}?" if near else "write an order of names as a word of its own."
            raise UserError(f"--orders {word}: I and II are whole orders, and {others[0]!r} is none; {hint}")
        found += [join_names(names)] if others else names
    return found


def axis(many: str, given: Sequence[Any] | None, one: str, single: Any) -> list[Any]:
    """The values along an axis of the grid without repetitions; [None] where nothing is given. Raises UserError.

    `given` are those of the flag `many`, `single` that or those of `bench`'s own flag `one`.
    """
    if given is not None and single is not None:
        raise UserError(f"{many} and {one} say the same: leave one out.")
    values = given if given is not None else single if isinstance(single, list) else [single]
    if not values:
        raise UserError(f"{many} names nothing.")
    return list(dict.fromkeys(values))


def shard_of(text: str) -> tuple[int, int]:
    """ "2/4" as (2, 4). Raises UserError unless 1 <= i <= n."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard takes i/n with i from 1 to n, such as 1/4, got {text!r}.")
    return int(match[1]), int(match[2])


def part(runs: Sequence[Run], shard: tuple[int, int]) -> list[Run]:
    """Every n-th run of the whole grid, from the i-th on: shards 1/n to n/n cover each run once, whatever is finished."""
    return list(runs[shard[0] - 1 :: shard[1]])


def grid(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    configs: Callable[[argparse.Namespace], list[RunConfig]],
    runs_code: bool = True,
) -> list[Run]:
    """Return all runs of a grid, seeds outermost and strategies innermost, so that one seed of everything comes first.

    Names, options and data of every run are checked before any run starts.

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
    orders = axis("--orders", orders_in(arguments.orders) if arguments.orders else None, "--order", order)
    one_seed = seeds_in(arguments.seed, "--seed") if arguments.seed else None
    seeds = axis("--seeds", seeds_in(arguments.seeds) if arguments.seeds else None, "--seed", one_seed)
    flags = {strategy: again(parser, _alone(arguments, strategy, strategies), APART) for strategy in strategies}
    benchmark = [arguments.benchmark or "mtil"]
    if arguments.benchmark is None and arguments.config and "benchmark" in read_file(arguments.config):
        benchmark = []
    asked: list[tuple[RunConfig, tuple[str, ...]]] = []
    for seed, order, strategy in itertools.product(seeds, orders, strategies):
        varied = (("--strategy", strategy), ("--order", order), ("--seed", seed))
        axes = [str(word) for flag, value in varied if value is not None for word in (flag, value)]
        words = [*benchmark, *axes, *flags[strategy]]
        # A configuration file may name several seeds.
        for config in configs(parser.parse_args(words)):
            asked.append((config, tuple(words if seed is not None else [*words, "--seed", str(config.seed)])))
    runs: dict[Path, Run] = {}
    with unchanged_data():
        plans = []
        for config, _ in asked:
            with _named(config, len(asked)):
                plans.append(check_names(config))
                plans[-1].check()
        for (config, words_of), plan in zip(asked, plans, strict=True):
            with _named(config, len(asked)):
                folder, log = _place(config, plan, runs_code)
            runs.setdefault(folder, Run(config.strategy, order_label(plan), config.seed, folder, log, words_of))
    return list(runs.values())


def _place(config: RunConfig, plan: StreamPlan, runs_code: bool) -> tuple[Path, Path]:
    """Return the folder and the log of a run."""
    resolved = resolve(config) if runs_code else outline(config)
    if resolved is None:
        return place(config, plan)
    folder = resolved.folder
    key = folder.name.rpartition("-")[2]
    name = f"{folder.parent.name}-{resolved.strategy_slug}-seed{config.seed}-{key}.log"
    return folder, Path(config.out) / "logs" / name


def _alone(arguments: argparse.Namespace, strategy: str | None, strategies: Sequence[str | None]) -> argparse.Namespace:
    """The flags of one strategy's runs: `--set wise-ft.alpha=0.3` is for wise-ft alone, and `alpha=0.3` there.

    A plugin that is used and has a strategy's name keeps its options (Avalanche's lwf).
    """
    prefixes = {f"{name}.": name for name in strategies if name is not None and name not in (arguments.plugins or ())}
    words = []
    for word in arguments.options or ():
        prefix = next((prefix for prefix in prefixes if word.startswith(prefix)), "")
        if not prefix or prefixes[prefix] == strategy:
            words.append(word.removeprefix(prefix))
    return argparse.Namespace(**{**vars(arguments), "options": words or None})


def _names(given: Sequence[str] | None) -> list[str] | None:
    return None if given is None else list(names_from_words(given))


@contextmanager
def _named(config: RunConfig, of: int) -> Iterator[None]:
    """Within it a mistake says which run of several it is in."""
    try:
        yield
    except UserError as error:
        if of == 1:
            raise
        raise UserError(f"{config.strategy}, seed {config.seed}: {error}") from error
