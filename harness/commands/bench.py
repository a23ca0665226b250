"""`bench` on the command line: its flags, the runs that they ask for, and running them. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.names import names_from_words
from models.registry import UserError

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig

# The flags of `bench` that are settings of a run, as a configuration file has them.
BENCH_SETTINGS = (
    *("benchmark", "strategy", "edition", "dataset", "steps", "base", "classnames", "templates", "protocol"),
    *("data_root", "limit", "shots", "model", "pretrained", "tuning", "measure_n", "device", "workers", "cache", "out"),
    *("precision", "microbatch", "checkpoint_minutes"),
)


def add_arguments(command: argparse._ActionsContainer, add_shared: Callable[..., None]) -> None:
    """The flags of `bench`; `add_shared` adds those that other commands have too."""
    command.add_argument("benchmark", nargs="?", help="mtil, cil or stream (see `list benchmarks`)")
    command.add_argument(
        "--strategy", help="a name from `list strategies`, or FILE.py:Class, which is run as code (default: zscl)"
    )
    command.add_argument("--edition", help="mini, full or own (default: mini, or what the named data belongs to)")
    command.add_argument("--order", nargs="+", metavar="NAME", help="I (default), II, or domain names; for cil all class names")
    command.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="stream: domains in order: names from `list domains`, folders, tables, ...; NAME:label=COLUMN chooses the labels",
    )
    command.add_argument(
        "--dataset", metavar="NAME", help="cil: cifar100, tinyimagenet, imagenet100, a mini domain or a folder"
    )
    command.add_argument("--steps", type=int, metavar="N", help="cil: in how many steps the classes arrive (after --base)")
    command.add_argument("--base", type=int, metavar="N", help="cil: classes of a first step before those (tinyimagenet: 100)")
    add_shared(command, "--classnames", "--templates")
    command.add_argument(
        "--protocol", help="which classes compete at test time: task, class or agnostic (default: the benchmark's)"
    )
    command.add_argument(
        "--heldout",
        nargs="*",
        metavar="NAME",
        help="domains never trained, for Retention; none: no such domain (default: mini domains for mtil and stream)",
    )
    add_shared(command, "--data-root", help="where the full edition's datasets are (default: data)")
    add_shared(command, "--limit", help="at most N images per split")
    command.add_argument("--shots", type=int, metavar="N", help="few-shot: N training images of each class")
    add_shared(command, "--model", help="tiny, an open_clip name, a model directory, hf-hub:NAME (default: the edition's)")
    add_shared(command, "--pretrained")
    command.add_argument("--tuning", help="what trains: a name from `list tunings` (default: the strategy's)")
    command.add_argument("--plugin", nargs="+", metavar="NAME", help="names of `list plugins`, or FILE.py:Class, run as code")
    command.add_argument("--seed", nargs="+", metavar="N", help="one run per seed: 0 1 2, or 0-4 (default: 0)")
    add_shared(command, "--measure-n", help="images for the measures before training (default: 1000)")
    add_shared(command, "--measures", help="which: names from `list measures`, or all (default: IIMM, silhouette, ...)")
    add_shared(
        command,
        "--set",
        help="options of the strategy (iterations, lr, ...), of the tuning (tuning.rank), of a plugin (ewc.ewc_lambda)",
    )
    command.add_argument("--config", metavar="FILE", help="TOML, or a run's run.json; flags win over it")
    command.add_argument(
        "--trust-code", action="store_true", help="run the strategy and plugin files that --config names and you do not"
    )
    add_shared(command, "--device")
    command.add_argument("--precision", help="fp32 (default), tf32 (NVIDIA GPUs), bf16 (the towers; faster on GPUs)")
    command.add_argument(
        "--microbatch", type=int, metavar="N", help="train on N images at a time: the same gradients from less memory, slower"
    )
    command.add_argument(
        "--checkpoint-minutes", type=float, metavar="M", help="save long tasks in between too (default: every 5; 0: never)"
    )
    add_shared(command, "--workers", help="processes that read training images from files")
    add_shared(command, "--no-cache", help="decode evaluation images each time")
    command.add_argument("--out", metavar="DIR", help="where records go (default: results)")
    command.add_argument("--fresh", action="store_true", help="start over, even if the run is finished")
    add_shared(command, "--quiet")


def configs(arguments: argparse.Namespace) -> list[RunConfig]:
    """The runs that the flags of `bench` and the file of --config ask for, one a seed. Raises UserError."""
    from harness.config.options import merged, parse_assignments, seeds_in
    from harness.config.run_config import RunConfig, read_file

    settings: dict[str, Any] = read_file(arguments.config) if arguments.config else {}
    seeds = settings.pop("seed", 0)
    seeds = seeds_in(arguments.seed, "--seed") if arguments.seed else (seeds if isinstance(seeds, list) else [seeds])
    for name in BENCH_SETTINGS:
        value = getattr(arguments, name)
        if value is not None:
            settings[name] = value
    if arguments.model is not None and arguments.pretrained is None:
        settings.pop("pretrained", None)
    data_root = settings.get("data_root", "data")
    for name, words in (("tasks", arguments.tasks), ("heldout", arguments.heldout)):
        if words is not None:
            settings[name] = names_from_words(words, data_root)
    for name, words in (("plugins", arguments.plugin), ("measures", arguments.measures)):
        if words is not None:
            settings[name] = names_from_words(words)
    if arguments.order is not None:
        settings["order"] = arguments.order[0] if len(arguments.order) == 1 else names_from_words(arguments.order)
    settings["options"] = merged(settings.get("options", {}), parse_assignments(arguments.set or []))
    settings["fresh"] = arguments.fresh
    if "benchmark" not in settings:
        raise UserError("Which benchmark? Write it first, before the flags. For example: bench mtil --strategy zscl.")
    return [RunConfig(**settings, seed=seed) for seed in dict.fromkeys(seeds)]


def bench(arguments: argparse.Namespace) -> int:
    """Run `bench`. Raises UserError."""
    from harness.config.run_config import unchanged_data
    from harness.config.trust import check_code

    check_code(arguments)
    found = configs(arguments)
    with unchanged_data():
        return _bench(found, arguments)


def _bench(found: list[RunConfig], arguments: argparse.Namespace) -> int:
    from harness.config.run_config import check_names, outline
    from harness.display.screen import Screen
    from harness.run.signals import handled, importing, stop
    from models.loading.architectures import check_model

    screen = Screen(quiet=arguments.quiet)
    notes: dict[str, None] = {}
    # What can be told of mistakes without the seconds that importing torch takes.
    for config in found:
        plan = check_names(config)
        plan.check()
        check_model(config.model)
        outline(config)
        notes |= dict.fromkeys(plan.notes)
    for note in notes:
        screen.say(note, style="yellow")
    screen.say("loading torch and Avalanche ...", style="dim")
    with importing():
        from harness.config.user_file import no_silent_end
        from harness.run.failures import expected
        from harness.run.loop import run

    # Also while a model is loaded and data are prepared.
    with expected(fresh=arguments.fresh), handled(stop), no_silent_end():
        for config in found:
            run(config, screen)
    return 0
