"""`study` and `predict` on the command line: their flags, and what is then run. Imports neither torch nor Avalanche."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.names import names_from_words
from harness.study.study_config import TUNINGS, StudyConfig, check_config
from metrics.suite import select_measures

STUDY = "Fine-tune each domain with each tuning from the initial model: gain, forgetting, and which measure predicts them."
PREDICT = "What fine-tuning on a dataset would gain and cost, by a study of other datasets; one forward pass, no training."


def add_commands(commands: Any, add_shared: Callable[..., None]) -> None:
    """Add both commands and their flags to the command line's; `add_shared` adds the flags that others have too."""
    study_help = "fine-tune each domain with each tuning: what predicts gain and forgetting"
    add_study_arguments(commands.add_parser("study", help=study_help), add_shared)
    predict_help = "gain and forgetting of a dataset before training, by a study"
    add_predict_arguments(commands.add_parser("predict", help=predict_help), add_shared)


def add_study_arguments(command: argparse.ArgumentParser, add_shared: Callable[..., None]) -> None:
    """The flags of `study`; `add_shared` adds those that other commands have too."""
    command.description = f"{STUDY} The same command again continues an interrupted study."
    command.add_argument("--domains", nargs="+", metavar="NAME", help="names, folders, ... (default: all of the edition)")
    command.add_argument("--tunings", nargs="+", metavar="NAME", help=f"from `list tunings` (default: {','.join(TUNINGS)})")
    command.add_argument("--edition", help="mini, full or own (default: mini, or what the names belong to)")
    add_shared(command, "--model", help="tiny, an open_clip name, a model directory, hf-hub:NAME (default: the edition's)")
    add_shared(command, "--pretrained")
    add_shared(command, "--data-root", help="where the papers' datasets are (default: data)")
    add_shared(command, "--limit", help="at most N images per split")
    add_shared(command, "--measures", help="names from `list measures` (default: all that need one model)")
    add_shared(command, "--measure-n", help="images of the training split that are measured (default: 1000)")
    command.add_argument("--seed", nargs="+", metavar="N", help="every cell once per seed: 0 1 2, or 0-4 (default: 0)")
    add_shared(
        command,
        "--set",
        help="training options of all tunings (iterations, lr, ...), or of one and its own (lora.lr, lora.rank)",
    )
    add_shared(command, "--device")
    add_shared(command, "--workers", help="processes that read training images from files (default: 0)")
    add_shared(command, "--no-cache", help="decode evaluation images each time")
    command.add_argument("--out", metavar="DIR", help="where the study goes (default: study)")
    command.add_argument("--fresh", action="store_true", help="train all cells again")
    add_shared(command, "--quiet")


def add_predict_arguments(command: argparse.ArgumentParser, add_shared: Callable[..., None]) -> None:
    """The flags of `predict`."""
    command.description = PREDICT
    command.add_argument("dataset", metavar="DATASET", help="a name from `list domains`, a folder, a CSV file, ...")
    command.add_argument(
        "--from", dest="study", metavar="STUDY", help="a study's folder or table.csv (default: that of the mini edition)"
    )
    command.add_argument("--measure", metavar="NAME", help="which of the study's measures predicts (default: iimm)")
    command.add_argument(
        "--weight", type=float, metavar="W", help="a point forgotten counts as W points gained, to recommend (default: 1)"
    )
    command.add_argument("--edition", help="mini, full or own (default: what the name belongs to)")
    add_shared(command, "--model", help="only the study's own is valid: for one that has moved (default: the study's)")
    add_shared(command, "--pretrained")
    add_shared(command, "--data-root", help="where the papers' datasets are (default: data)")
    add_shared(command, "--classnames", "--templates")
    add_shared(command, "--measure-n", help="images of the training split (default: 1000)")
    command.add_argument("--seed", type=int, metavar="N", help="of the sample (default: 0)")
    add_shared(command, "--device")
    add_shared(command, "--csv", help="write the predictions as CSV, one row a tuning and outcome")
    add_shared(command, "--quiet")


def study(arguments: argparse.Namespace) -> int:
    """Run `study`. Raises UserError."""
    from benchmarks.catalog import shadows
    from harness.config.options import parse_assignments, seeds_in
    from harness.display.screen import Screen
    from harness.run.signals import handled, importing, stop

    settings = given(arguments, "set", "seed")
    for name in ("domains", "tunings"):
        if name in settings:
            settings[name] = names_from_words(settings[name], settings.get("data_root", "data") if name == "domains" else None)
    if arguments.measures is not None:
        settings["measures"] = select_measures(names_from_words(arguments.measures))
    if arguments.seed is not None:
        settings["seeds"] = tuple(dict.fromkeys(seeds_in(arguments.seed, "--seed")))
    config = StudyConfig(**settings, options=parse_assignments(arguments.set or []))
    sources = check_config(config)
    screen = Screen(quiet=arguments.quiet)
    for note in shadows([*sources.values()] if config.domains is not None else []):
        screen.say(note, style="yellow")
    screen.say("loading torch and Avalanche ...", style="dim")
    with importing():
        from harness.run.failures import expected
        from harness.study.run_study import run

    with expected(fresh=arguments.fresh, part="cell"), handled(stop):
        run(config, screen)
    return 0


def predict(arguments: argparse.Namespace) -> int:
    """Run `predict`. Raises UserError."""
    from benchmarks.catalog import check_present, find
    from harness.config.options import check_least
    from harness.display.screen import Screen
    from harness.records.files import check_table
    from harness.run.signals import handled, importing, stop
    from metrics import study_table

    settings = given(arguments, "csv")
    check_least(settings, measure_n=2, seed=0)
    check_table(arguments.csv)
    check_present([find(arguments.dataset, arguments.edition, settings.get("data_root", "data"))])
    # A study that is none is found out before torch is loaded.
    study_table.read(study_table.table_path(arguments.study))
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch ...", style="dim")
    with importing():
        from harness.records.files import write_table
        from harness.run.failures import expected
        from harness.study import predict as predicting

    with expected(part=None), handled(stop):
        found = predicting.predict(predicting.PredictConfig(**settings), screen)
    if arguments.csv:
        write_table(found.table, arguments.csv)
        screen.say(f"wrote {arguments.csv} ({len(found.table)} rows)")
    return 0


def given(arguments: argparse.Namespace, *apart: str) -> dict[str, Any]:
    """The flags that were given by their names as settings, less those `apart`, which need more than to be passed on."""
    left = ("command", "quiet", *apart)
    return {name: value for name, value in vars(arguments).items() if value is not None and name not in left}
