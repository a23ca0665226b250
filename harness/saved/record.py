"""Find the record of a finished run, the checkpoint to load and the settings that its model was made with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.plan import Built, StreamPlan
from harness.config.config_file import read_file
from harness.config.options import make_options, plugin_options, split_prefix, tuning_options
from harness.config.resolve import Resolved
from harness.config.run_config import RunConfig
from harness.config.user_file import check_strategy, file_of, is_file, load_strategy, load_tuning, source_sha256
from harness.config.user_plugins import user_plugins
from harness.records.files import file_sha256
from harness.records.find_runs import find
from harness.records.runs import Run, read_one
from harness.run import checkpoint
from harness.run.run_files import CHECKPOINT, CHECKPOINTS, DIGESTS, RECORD
from models.files import reason
from models.loading.local_files import weights_sha256
from models.paths import user_path
from models.registry import UserError
from strategies.engine.method_checks import is_built_in


def find_run(path: str | Path) -> Run:
    """Return the finished run in a folder.

    Args:
        path: the folder of a run, its run.json, or a folder with a single run in it.

    Raises:
        UserError: there is no run, there are several, or the run is not finished or damaged.
    """
    root = user_path(path)
    if not root.exists():
        raise UserError(f"There is no run at {str(path)!r}.")
    records = [root / RECORD] if (root / RECORD).is_file() else find([root])
    if not records:
        raise UserError(f"There is no run in {path}: it holds no {RECORD}. Name the folder that `bench` shows as its record.")
    if len(records) > 1:
        raise UserError(f"{path} holds {len(records)} runs. Name the folder of one of them, such as {records[0].parent}.")
    run = read_one(records[0])
    if not run.finished:
        progress = run.document.get("progress") or {}
        done = f" after {progress['after']} of {progress['of']} tasks" if progress.get("of") else ""
        raise UserError(f"The run {run.folder} is not finished (it is {run.document['status']}{done}). Run its command again.")
    return run


def kept_after(run: Run, after: int | None = None) -> int:
    """Return the number of the task after which a checkpoint is loaded. None: the last one that was kept.

    Raises:
        UserError: no checkpoint was kept after this task.
    """
    folder = run.folder / CHECKPOINTS
    kept = sorted(
        int(path.name.removeprefix("after-"))
        for path in (folder.iterdir() if folder.is_dir() else ())
        if CHECKPOINT.fullmatch(path.name) and (path / DIGESTS).is_file()
    )
    if not kept:
        raise UserError(f"The run {run.folder} has no checkpoint. Repeat it with --fresh to make one.")
    if after is None:
        latest = checkpoint.latest(folder)
        return kept[-1] if latest is None else int(latest["after"])
    if after not in kept:
        numbers = ", ".join(map(str, kept))
        raise UserError(f"The run {run.folder} keeps no weights after task {after}. Kept: {numbers}.")
    return after


def config_of(run: Run, device: str = "cpu") -> RunConfig:
    """Return the settings of a run with every default filled in."""
    settings = read_file(str(run.folder / RECORD))
    return RunConfig(**{**settings, "device": device, "out": str(run.folder.parent.parent)})


def resolved_from(run: Run, config: RunConfig, trust_code: bool = False) -> Resolved:
    """Return what the model of a run is made from. The data of the benchmark is not looked at.

    Built-in plugins are left out, because they act on training only.

    Args:
        run: the run.
        config: its settings (`config_of`).
        trust_code: run the code of the user's files that the record names.

    Raises:
        UserError: the run uses code that is not trusted, that is missing or that has changed, or a model that has changed.
    """
    identity = run.identity
    _check_code(run, config, trust_code)
    strategy_class, sha = _strategy(config)
    if sha != identity.get("strategy_sha256"):
        raise UserError(_changed(f"The code of the strategy {config.strategy}", run))
    tuning = str(config.tuning)
    kind, tuning_sha = load_tuning(tuning) if is_file(tuning) else (None, None)
    file_plugins, changes = user_plugins(config.plugins, config.options, strategy_class)
    changes, _ = plugin_options([name for name in config.plugins if not is_file(name)], changes)
    changes, tuning_changes = split_prefix(changes, "tuning")
    model = str(config.model)
    if weights_sha256(model, config.pretrained) != identity.get("weights_sha256"):
        raise UserError(_changed(f"The model {config.pretrained or model}", run))
    return Resolved(
        config=config,
        plan=_plan(run, config),
        strategy_class=strategy_class,
        strategy_slug=str(identity["strategy"]),
        options=make_options(strategy_class, {}, changes),
        tuning=tuning,
        tuning_options=tuning_options(tuning, tuning_changes, kind),
        plugins=file_plugins,
        order_label=str(identity["order"]),
        model=model,
        pretrained=config.pretrained,
        strategy_sha256=sha,
        weights_sha256=identity.get("weights_sha256"),
        data_version=identity.get("data_version"),
        reference=None,
        reads_reference=False,
        reference_version=None,
        files={},
        tuning_sha256=tuning_sha,
    )


def _strategy(config: RunConfig) -> tuple[Any, str | None]:
    """Return the class of a run's strategy, and the digest of its file if it is not built in."""
    if is_file(config.strategy):
        return load_strategy(config.strategy)
    from strategies import STRATEGIES

    strategy_class = STRATEGIES.get(config.strategy)
    check_strategy(strategy_class, config.strategy)
    return strategy_class, None if is_built_in(strategy_class) else source_sha256(strategy_class)


def _check_code(run: Run, config: RunConfig, trusted: bool) -> None:
    """Check the user's files that a record names, before any of them is run."""
    for name, recorded in _code(run.identity, config):
        path = file_of(name)
        try:
            sha = file_sha256(path)
        except OSError as error:
            raise UserError(f"The run {run.folder} needs the code {path}, which cannot be read: {reason(error)}.") from error
        if recorded is not None and sha != recorded:
            raise UserError(_changed(f"The code {path}", run))
        if not trusted:
            raise UserError(
                f"The run {run.folder} needs the code {path.resolve()} (SHA-256 {sha}), which would be run. Read it, then use "
                "--trust-code, in Python trust_code=True."
            )


def _code(identity: Mapping[str, Any], config: RunConfig) -> Iterator[tuple[str, str | None]]:
    """Yield the user's files that a run uses, with their recorded digests."""
    if is_file(config.strategy):
        yield config.strategy, identity.get("strategy_sha256")
    if config.tuning is not None and is_file(config.tuning):
        yield config.tuning, identity.get("tuning_sha256")
    digests = {values.get("sha256") for values in (identity.get("plugins") or {}).values()} - {None}
    for name in filter(is_file, config.plugins):
        # A record names plugins by class, which only the file tells.
        path = file_of(name)
        sha = file_sha256(path) if path.is_file() else None
        yield name, sha if sha in digests else "missing"


def _changed(what: str, run: Run) -> str:
    return (
        f"{what} has changed since the run {run.folder} was made, so its model cannot be rebuilt. Restore what was there, or "
        "run the benchmark again."
    )


def _plan(run: Run, config: RunConfig) -> StreamPlan:
    """Return the plan of a run's stream, as far as the record tells it."""

    def build(*arguments: Any) -> Built:
        raise UserError(f"The record of {run.folder} does not say where its data is.")

    return StreamPlan(
        benchmark=str(run.identity["benchmark"]),
        edition=str(run.identity["edition"]),
        order="custom" if re.match("custom-", run.identity["order"]) else str(run.identity["order"]),
        names=run.tasks,
        heldout=run.heldout,
        targets=run.targets,
        build=build,
        protocol=str(config.protocol),
        duplicates=config.duplicates or "own",
    )
